import type { Actor, World } from './world.ts';

/** What the explorer decides about one step, and what the step finds to be wrong. */
export interface Turn {
  /** Which eventual reads of the step see the value before the last change. */
  readonly late: { readonly complete: boolean; readonly shard: boolean };
  violation?: string;
}

/** One request of an actor, done at once. Returns the name of the next step; a step that cannot be done yet changes nothing and returns {@link BLOCKED}. */
export type Step = (world: World, me: Actor, turn: Turn) => string;

export const BLOCKED = '';
