import { isDated, saysPresent } from './predicates.ts';
import type { Step } from './steps.ts';
import { END, isManifest, neededBy, shardOf, wantedOf, type Actor, type Digest, type World } from './world.ts';
import { rememberComplete } from './writes.ts';

/** The cache is asked. Dated: answered at once. Else the rows are asked, and the answer is remembered if that works at the first try. */
export const hitSteps: Readonly<Record<string, Step>> = {
  /** One BatchGet of eventual reads. */
  ask(world, me, turn) {
    const root = world.tags[me.vars.tag!];
    if (root === undefined) return answered(me, 'incomplete');
    const shards = turn.late.shard ? world.earlier.shards : world.shards;
    const complete = turn.late.complete ? world.earlier.complete[root] : world.complete[root];
    const epoch = shards[shardOf(world, root)]!;
    const wanted = wantedOf(world.images, root, me.vars.platforms!);
    me.vars = { ...me.vars, root, wanted, needed: neededBy(world.images, wanted), seenComplete: complete, index: 0 };
    me.vars.firstSet = complete?.set ?? [];
    const { guards } = world;
    const isKnown = (child: Digest): boolean =>
      guards.hitComparesDate ? isDated(complete, child, epoch) : complete?.set.includes(child) === true;
    if (wanted.every(isKnown)) return answered(me, 'complete');
    if (!guards.hitAsksForUndated && complete !== undefined && complete.stamp >= epoch)
      return answered(me, 'incomplete');
    // Without a row that says what a manifest needs, the cache cannot tell.
    const isUnread = (child: Digest): boolean => isManifest(world.images, child) && world.children[child] !== true;
    if (wanted.some(isUnread)) return answered(me, 'incomplete');
    return guards.shardBeforeRows ? 'askShard' : 'askRows';
  },

  askShard(world, me) {
    me.vars.epoch = world.shards[shardOf(world, me.vars.root!)]!;
    return world.guards.shardBeforeRows ? 'askRows' : 'stamp';
  },

  askRows(world, me) {
    const digest = me.vars.needed![me.vars.index!]!;
    if (!saysPresent(world.rows[digest])) return answered(me, 'incomplete');
    me.vars.index!++;
    if (me.vars.index! < me.vars.needed!.length) return 'askRows';
    me.vars.answer = 'complete';
    return world.guards.shardBeforeRows ? 'stamp' : 'askShard';
  },

  stamp(world: World, me) {
    rememberComplete(world, me);
    return END;
  },
};

function answered(me: Actor, answer: 'complete' | 'incomplete'): string {
  me.vars.answer = answer;
  return END;
}
