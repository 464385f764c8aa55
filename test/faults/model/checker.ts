import { saysPresent } from './predicates.ts';
import { neededBy, needsOf, shardOf, type Digest, type World } from './world.ts';

/**
 * What holds after every step. Undefined, or what is wrong.
 *
 * The window of I2 is between a deletion in the bucket and its noticing. So: whatever is dated by the present epoch has rows that all say present, and a row
 * that says present is right unless the deletion is announced and not acknowledged yet.
 */
export function findViolation(world: World): string | undefined {
  for (const root in world.complete) {
    const { stamp, set } = world.complete[root]!;
    if (stamp < world.shards[shardOf(world, root)]!) continue;
    for (const child of set) {
      for (const digest of needsOf(world.images, child)) {
        if (saysPresent(world.rows[digest])) continue;
        return `I2: ${root} is dated ${stamp}, the present epoch, with ${child} complete, but the row of ${digest} says absent`;
      }
    }
  }
  for (const digest in world.rows) {
    if (world.rows[digest]!.state !== 'present' || world.bucket[digest] === digest) continue;
    if (world.events.some((event) => event.digest === digest)) continue;
    return `I2: the row of ${digest} says present, the object is ${world.bucket[digest] ?? 'not there'}, and no event of its deletion is left`;
  }
  return undefined;
}

/** Where nothing is under way: what a hit must answer for the tag, from rows and CHILD rows alone. */
export const mustBeHit = (world: World, children: readonly Digest[]): boolean =>
  neededBy(world.images, children).every((digest) => saysPresent(world.rows[digest]));
