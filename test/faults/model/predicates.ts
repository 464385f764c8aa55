/*
 * The conditions of the protocol, each by its name: those of the conditional writes, and what counts as complete. Everything else in the model only
 * decides in which order they are asked.
 */
import type { Completeness, Digest, Row } from './world.ts';

/** No one wrote the state since the commit was read; 0 stands for a row that no one has written it on. */
export const commitUnchanged = (row: Row | undefined, seen: number): boolean => (row?.commit ?? 0) === seen;

/** No loss was recorded since the epoch was read. */
export const shardUnchanged = (epoch: number, seen: number): boolean => epoch === seen;

export const lockStillHeld = (holder: number | undefined, token: number): boolean => holder === token;

/** Free, ours already (the answer to our own acquire was lost), or of an actor that is dead. */
export const canAcquire = (holder: number | undefined, token: number, isDead: (holder: number) => boolean): boolean =>
  holder === undefined || holder === 0 || holder === token || isDead(holder);

/** The set is as of an earlier epoch: it is replaced. */
export const isOlder = (complete: Completeness | undefined, epoch: number): boolean =>
  complete === undefined || complete.stamp < epoch;

/** The set is as of this epoch: it is added to. */
export const isSameDate = (complete: Completeness | undefined, epoch: number): boolean => complete?.stamp === epoch;

/** The child was complete at the epoch, or at a later one. */
export const isDated = (complete: Completeness | undefined, child: Digest, epoch: number): boolean =>
  complete !== undefined && complete.stamp >= epoch && complete.set.includes(child);

export const saysPresent = (row: Row | undefined): boolean => row?.state === 'present';
