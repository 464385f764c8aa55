import { InvalidRequestError } from '../errors/cache-error.ts';
import type { WarmupSettings } from './warmup-settings.ts';

/** Which run of which warm-up an event asks for. */
export interface WarmupEvent {
  readonly settings: WarmupSettings;
  /** ISO 8601, in UTC: the same moment is the same text. */
  readonly scheduledTime: string;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/;

/**
 * Parses `{"warmup": "nightly", "scheduledTime": "2026-01-31T03:00:00Z"}`, as the schedule sends it.
 *
 * @throws InvalidRequestError, which no retry mends.
 */
export function parseWarmupEvent(event: unknown, warmups: readonly WarmupSettings[]): WarmupEvent {
  const { warmup, scheduledTime } = (event ?? {}) as { warmup?: unknown; scheduledTime?: unknown };
  const settings = warmups.find(({ name }) => name === warmup);
  if (settings === undefined) {
    const known = warmups.map(({ name }) => name).join(', ');
    throw new InvalidRequestError(
      'warmup',
      `${shown(warmup)} is no warm-up of the configuration (it has: ${known === '' ? 'none' : known}); package and deploy again if it was added or taken away`,
    );
  }
  const time = typeof scheduledTime === 'string' && TIME.test(scheduledTime) ? new Date(scheduledTime) : undefined;
  if (time === undefined || Number.isNaN(time.getTime())) {
    throw new InvalidRequestError(
      'scheduledTime',
      `${shown(scheduledTime)} is not a time; write it in ISO 8601, for example 2026-01-31T03:00:00Z`,
    );
  }
  return { settings, scheduledTime: time.toISOString() };
}

const shown = (value: unknown): string =>
  typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : typeof value;
