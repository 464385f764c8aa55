import { InvalidRequestError } from '../errors/cache-error.ts';
import type { Platform } from '../oci/platform.ts';
import type { Reference, Repository } from '../reference/reference.ts';

/** Selects tags of a repository. A tag must match everything that is given; `newest` then keeps the highest versions. */
export interface TagRule {
  /** A glob over the tag: `1.*-alpine`. */
  readonly glob?: string;
  /** A range over tags that are versions: `>=1.25 <2`. */
  readonly semver?: string;
  /** Number of tags, from the highest version down. */
  readonly newest?: number;
}

/** One line of a warm-up. */
export interface WarmupEntry {
  readonly what:
    | { readonly kind: 'reference'; readonly reference: Reference }
    | { readonly kind: 'repository'; readonly repository: Repository; readonly tags: TagRule };
  readonly platforms: readonly Platform[];
  readonly attestations: boolean;
}

/** One of `warmups` of the configuration: a list and its schedule. */
export interface WarmupSettings {
  /** Unique: letters, digits, "-" and "_", at most 40. */
  readonly name: string;
  /** In the syntax of EventBridge Scheduler: `cron(0 3 * * ? *)`, `rate(6 hours)`. */
  readonly schedule: string;
  /** IANA: `Europe/Berlin`. */
  readonly timeZone: string;
  /** Concurrent pulls. */
  readonly parallel: number;
  readonly entries: readonly WarmupEntry[];
}

/** The run that an event asks for. */
export interface WarmupEvent {
  readonly settings: WarmupSettings;
  /** ISO 8601, in UTC: the same moment is the same text. */
  readonly scheduledTime: string;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/;

/**
 * Parses `{"warmup": "nightly", "scheduledTime": "2026-01-31T03:00:00Z"}`, as the schedule sends it.
 *
 * @throws InvalidRequestError; a retry does not help.
 */
export function parseWarmupEvent(event: unknown, warmups: readonly WarmupSettings[]): WarmupEvent {
  const { warmup, scheduledTime } = (event ?? {}) as { warmup?: unknown; scheduledTime?: unknown };
  const settings = warmups.find(({ name }) => name === warmup);
  if (settings === undefined) {
    const known = warmups.map(({ name }) => name).join(', ');
    throw new InvalidRequestError(
      'warmup',
      `${shown(warmup)} is not a warm-up of the configuration (it has: ${known === '' ? 'none' : known}); package and deploy again if it was added or removed`,
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
