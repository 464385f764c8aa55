import type { TestStack } from '../support/stack.ts';
import type { NoiseRegistry } from './processes.ts';

/** The name under which the configuration of every cache here knows the upstream. */
export const REGISTRY = 'registry.example.test';

/** What the sections run on: one stack and one registry for all, each part in a process of its own. */
export interface Bench {
  readonly stack: TestStack;
  readonly registry: NoiseRegistry;
  /** How often each contender runs; rounds are interleaved. */
  readonly rounds: number;
  /** Fires when the whole run took too long or was interrupted. */
  readonly signal: AbortSignal;
}
