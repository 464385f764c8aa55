import { commitUnchanged, saysPresent } from './predicates.ts';
import { BLOCKED, type Step } from './steps.ts';
import { END, type Actor, type World } from './world.ts';
import { moveEpoch, writeState } from './writes.ts';

/**
 * Looks into deletions, one event after the other; or, where `vars.digest` is given from the start, into one digest, as `validate --deep` does. The event is
 * acknowledged last: of a finder that dies it comes again.
 */
export const finderSteps: Readonly<Record<string, Step>> = {
  take(world, me) {
    const event = world.events.find(({ taken }) => taken === 0);
    if (event === undefined) return BLOCKED;
    event.taken = me.token;
    me.vars = { digest: event.digest };
    return firstLook(world);
  },

  lookRow(world, me) {
    const row = world.rows[me.vars.digest!];
    me.vars.seen = row?.commit ?? 0;
    me.vars.seenEtag = row?.etag ?? '';
    me.vars.seenClaimed = (row?.holder ?? 0) !== 0;
    if (row === undefined) Reflect.deleteProperty(me.vars, 'seenState');
    else me.vars.seenState = row.state;
    // A row that says absent gets a new commit whatever the store has by now: the object that went may be one that another is about to write down.
    if (row?.state !== 'present') return isRenewed(world, me) ? 'renew' : 'acknowledge';
    return world.guards.commitReadBeforeStore ? 'lookStore' : decide(me);
  },

  lookStore(world, me) {
    me.vars.storeEtag = world.bucket[me.vars.digest!] ?? '';
    return world.guards.commitReadBeforeStore ? decide(me) : 'lookRow';
  },

  /** One transaction: the row says absent, and every shard moves. */
  lose(world, me, turn) {
    const { digest = '', seen = 0 } = me.vars;
    const { guards } = world;
    if (guards.lossOnCommit && !commitUnchanged(world.rows[digest], seen)) return firstLook(world);
    if (saysPresent(world.rows[digest]) && world.settled[digest] === true) {
      turn.violation = `${digest} was recorded as lost, but it is there and its row was written since`;
    }
    writeState(world, digest, 'absent', '');
    if (!guards.epochInLoss) return 'moveEpoch';
    moveEpoch(world);
    return 'acknowledge';
  },

  moveEpoch(world) {
    moveEpoch(world);
    return 'acknowledge';
  },

  /** Whoever saw the object before it went, and is about to write that, is refused from now on. The epoch stays. */
  renew(world, me) {
    const { digest = '', seen = 0 } = me.vars;
    if (!commitUnchanged(world.rows[digest], seen)) return firstLook(world);
    writeState(world, digest, 'absent', '');
    return 'acknowledge';
  },

  acknowledge(world, me) {
    const mine = world.events.findIndex(({ taken }) => taken === me.token);
    if (mine < 0) return END;
    world.events.splice(mine, 1);
    me.vars = {};
    return 'take';
  },
};

export const firstLook = (world: World): string => (world.guards.commitReadBeforeStore ? 'lookRow' : 'lookStore');

const decide = ({ vars: { seenEtag, storeEtag } }: Actor): string => (storeEtag === seenEtag ? 'acknowledge' : 'lose');

const isRenewed = ({ guards }: World, { vars }: Actor): boolean =>
  guards.deletionRenewsCommit && (guards.deletionRenewsUnclaimed || vars.seenClaimed === true);
