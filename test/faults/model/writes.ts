import { isOlder, isSameDate, shardUnchanged } from './predicates.ts';
import { shardOf, type Actor, type Completeness, type Digest, type World } from './world.ts';

/** The state of a row, with a new commit. The claim stays as it is. */
export function writeState(world: World, digest: Digest, state: 'present' | 'absent', etag: string): void {
  const holder = world.rows[digest]?.holder ?? 0;
  world.rows[digest] = { state, commit: world.nextCommit++, etag, holder };
}

/** Every shard at once, so that one read of any of them tells of every loss. */
export function moveEpoch(world: World): void {
  world.earlier.shards = world.shards;
  world.shards = world.shards.map((epoch) => epoch + 1);
}

/** The object is gone, and S3 announces it. Nothing happens where there is none. */
export function deleteObject(world: World, digest: Digest): void {
  if (world.bucket[digest] === undefined) return;
  Reflect.deleteProperty(world.bucket, digest);
  Reflect.deleteProperty(world.settled, digest);
  world.events.push({ digest, taken: 0 });
}

/**
 * The transaction by which publish and stamp remember what they saw: refused if a loss was recorded since the shard was read, or if the set has another
 * date than the writer thinks.
 */
export function rememberComplete(world: World, me: Actor): boolean {
  const { guards } = world;
  const { root = '', wanted = [], epoch = 0, seenComplete, firstSet = [] } = me.vars;
  if (guards.publishOnShard && !shardUnchanged(world.shards[shardOf(world, root)]!, epoch)) return false;
  const current = world.complete[root];
  let set: readonly Digest[];
  if (isSameDate(seenComplete, epoch)) {
    if (!isSameDate(current, epoch)) return false;
    set = [...(guards.sameDateKeeps ? current!.set : []), ...wanted, ...(guards.sameDateAddsOwn ? [] : firstSet)];
  } else {
    if (!isOlder(current, epoch)) return false;
    set = [...(guards.raisingReplaces ? [] : (current?.set ?? [])), ...wanted];
  }
  world.earlier.complete[root] = current;
  world.complete[root] = dated(set, epoch);
  return true;
}

const dated = (set: readonly Digest[], stamp: number): Completeness => ({ stamp, set: [...new Set(set)].sort() });

/** Frees the claim, if it is still ours. */
export function freeClaim(world: World, digest: Digest, me: Actor): void {
  const row = world.rows[digest];
  if (row?.holder === me.token) row.holder = 0;
}
