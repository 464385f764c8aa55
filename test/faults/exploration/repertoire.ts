import type { ActorName } from './actors.ts';
import type { Disturbance } from './disturb.ts';
import { STEPS, type Step } from './standstills.ts';

/** What a schedule may be made of. Named twice: twice as often. */
export interface Repertoire {
  readonly actors: readonly ActorName[];
  readonly disturbances: readonly Disturbance[];
  /** Where processes stand still. */
  readonly standstills: readonly Step[];
}

export const REPERTOIRE: Repertoire = {
  actors: [
    ...([
      'pull',
      'pull',
      'pull',
      'alwaysPull',
      'stoppedPull',
      'workflowPull',
      'workflowPull',
      'follower',
      'follower',
      'validator',
      'validator',
    ] as const),
    ...([
      'deleter',
      'deleter',
      'notifier',
      'notifier',
      'putterBack',
      'mover',
      'remover',
      'rebuilder',
      'clock',
    ] as const),
  ],
  disturbances: ['lost answer', 'reset', 'throttled', 'conflict', 'late', 'frozen', 'frozen'],
  standstills: STEPS,
};
