import { canAcquire, isDated, lockStillHeld, saysPresent, shardUnchanged } from './predicates.ts';
import { beginObtain } from './obtain.ts';
import { BLOCKED, type Step } from './steps.ts';
import { END, isManifest, KILLED, neededBy, shardOf, wantedOf, type Actor, type Digest, type World } from './world.ts';
import { rememberComplete } from './writes.ts';

/**
 * A pull, from its lock on: resolve, shard, then either the date says that all is there, or rows, what is missing, and shard and rows again, until one
 * transaction publishes.
 */
export const pullSteps: Readonly<Record<string, Step>> = {
  lock(world, me) {
    const tag = me.vars.tag!;
    const isDead = (holder: number): boolean => world.actors[holder - 1]?.step === KILLED;
    if (!canAcquire(world.locks[tag], me.token, isDead)) return BLOCKED;
    world.locks[tag] = me.token;
    return me.kind === 'remover' ? 'remove' : 'resolve';
  },

  resolve(world, me) {
    const root = world.registry[me.vars.tag!]!;
    me.vars.root = root;
    me.vars.wanted = wantedOf(world.images, root, me.vars.platforms!);
    me.vars.needed = neededBy(world.images, me.vars.wanted);
    return 'shard';
  },

  shard(world, me) {
    if (world.guards.shardBeforeRows) me.vars.epoch = world.shards[shardOf(world, me.vars.root!)]!;
    return 'known';
  },

  known(world, me) {
    const { root = '', wanted = [], epoch = 0 } = me.vars;
    const complete = world.complete[root];
    me.vars.seenComplete = complete;
    me.vars.firstSet ??= complete?.set ?? [];
    const isKnown = (child: Digest): boolean =>
      world.guards.knownRootIsDated ? isDated(complete, child, epoch) : complete?.set.includes(child) === true;
    me.vars.known = epoch > 0 && wanted.every(isKnown);
    me.vars.index = 0;
    me.vars.missing = [];
    return me.vars.known ? 'publish' : 'rows';
  },

  rows(world, me) {
    const digest = me.vars.needed![me.vars.index!]!;
    if (!saysPresent(world.rows[digest])) me.vars.missing!.push(digest);
    else if (isManifest(world.images, digest) && me.vars.planned !== true) return 'read';
    return nextRow(world, me);
  },

  /** A manifest is read from the store once, to know what it needs: so a pull itself may find it gone. */
  read(world, me) {
    const digest = me.vars.needed![me.vars.index!]!;
    if (world.bucket[digest] !== digest) me.vars.missing!.push(digest);
    // What was written before there were CHILD rows, or without them, gets one.
    world.children[digest] = true;
    return nextRow(world, me);
  },

  /** With the guard taken out, what shardBeforeRows forbids: the epoch is read when the rows were. */
  lateShard(world, me) {
    me.vars.epoch = world.shards[shardOf(world, me.vars.root!)]!;
    return 'publish';
  },

  publish(world, me, turn) {
    const { tag = '', root = '', wanted = [], epoch = 0, known } = me.vars;
    const isOurs = lockStillHeld(world.locks[tag], me.token);
    // Another has the lock: this pull fails, and its caller asks again.
    if (world.guards.publishOnLock && !isOurs) return END;
    const isUnchanged = shardUnchanged(world.shards[shardOf(world, root)]!, epoch);
    if (known === true ? world.guards.publishOnShard && !isUnchanged : !rememberComplete(world, me)) return 'shard';
    if (!isOurs) turn.violation = `I3: ${tag} was published by an actor that does not hold its lock`;
    for (const digest of neededBy(world.images, wanted)) {
      if (!saysPresent(world.rows[digest]))
        turn.violation = `I2: ${tag} was published while the row of ${digest} says absent`;
    }
    const before = world.tags[tag] === root ? (world.published[tag] ?? []) : [];
    world.tags[tag] = root;
    world.published[tag] = [...new Set([...before, ...wanted])].sort();
    return 'unlock';
  },

  unlock(world, me) {
    const tag = me.vars.tag!;
    if (lockStillHeld(world.locks[tag], me.token)) world.locks[tag] = 0;
    return END;
  },

  remove(world, me) {
    const tag = me.vars.tag!;
    if (!lockStillHeld(world.locks[tag], me.token)) return END;
    Reflect.deleteProperty(world.tags, tag);
    Reflect.deleteProperty(world.published, tag);
    return 'unlock';
  },
};

function nextRow(world: World, me: Actor): string {
  me.vars.index!++;
  if (me.vars.index! < me.vars.needed!.length) return 'rows';
  me.vars.planned = true;
  const [first] = me.vars.missing!;
  if (first === undefined) return world.guards.shardBeforeRows ? 'publish' : 'lateShard';
  me.vars.digest = first;
  return beginObtain(world, me);
}
