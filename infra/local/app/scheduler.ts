import { Cron } from 'croner';
import type { Deliveries } from './deliveries.ts';

/** When a schedule fires. */
export interface Firing {
  /** The next time after `afterMs`, in epoch milliseconds; undefined if there is none. */
  next(afterMs: number): number | undefined;
}

const UNITS_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;
/** The last value of each field of a cron expression, for steps such as `5/15`. */
const LAST_OF_FIELD = [59, 23, 31, 12, 7, 2199];

/**
 * The times of a schedule of EventBridge: `rate(5 minutes)`, counted from `startMs`, or `cron(minutes hours day-of-month month day-of-week year)`
 * in the time zone. https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
 *
 * @throws Error naming the expression, for one that EventBridge would refuse.
 */
export function parseSchedule(expression: string, timeZone: string, startMs: number): Firing {
  const [, kind = '', inner = ''] = /^(rate|cron)\(([^()]*)\)$/.exec(expression.trim()) ?? [];
  try {
    if (kind === 'rate') return rate(inner, startMs);
    if (kind === 'cron') return cron(inner, timeZone);
  } catch (cause) {
    throw new Error(
      `${expression} is not a valid schedule: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    );
  }
  throw new Error(`${expression} is not a valid schedule; write rate(5 minutes) or cron(0 3 * * ? *)`);
}

function rate(inner: string, startMs: number): Firing {
  const [, count = '', unit = '', plural = ''] = /^\s*(\d{1,6})\s+(minute|hour|day)(s?)\s*$/.exec(inner) ?? [];
  const everyMs = Number(count) * ((UNITS_MS[unit as keyof typeof UNITS_MS] as number | undefined) ?? 0);
  if (everyMs === 0 || (count === '1') === (plural === 's')) throw new Error('write rate(1 minute) or rate(5 minutes)');
  return { next: (afterMs) => startMs + (Math.floor((afterMs - startMs) / everyMs) + 1) * everyMs };
}

function cron(inner: string, timezone: string): Firing {
  const fields = inner.trim().split(/\s+/);
  if (fields.length !== 6) throw new Error(`cron has six fields, these are ${fields.length}`);
  const [minutes, hours, dayOfMonth, month, dayOfWeek, year] = fields.map(expandedSteps);
  // EventBridge requires "?" in exactly one of them.
  if ((dayOfMonth === '?') === (dayOfWeek === '?')) {
    throw new Error('exactly one of day-of-month and day-of-week is "?"');
  }
  const days = `${dayOfMonth === '?' ? '*' : dayOfMonth} ${month} ${dayOfWeek === '?' ? '*' : lastWeekday(dayOfWeek ?? '')}`;
  // alternativeWeekdays: 1 is Sunday, as EventBridge counts.
  const pattern = new Cron(`0 ${minutes} ${hours} ${days} ${year}`, {
    timezone,
    paused: true,
    alternativeWeekdays: true,
  });
  return { next: (afterMs) => pattern.nextRun(new Date(afterMs))?.getTime() };
}

/** `5/15` is every 15th from 5 on; croner also needs the end. */
function expandedSteps(field: string, index: number): string {
  const expand = (item: string): string => item.replace(/^(\d+)\//, `$1-${LAST_OF_FIELD[index]}/`);
  return field.split(',').map(expand).join(',');
}

/** `6L` is the last Friday, `L` alone Saturday. */
function lastWeekday(dayOfWeek: string): string {
  if (dayOfWeek === 'L') return '7';
  return dayOfWeek.replace(/^([1-7]|[A-Z]{3})L$/i, '$1#L');
}

/** One schedule of the application. */
export interface Schedule {
  readonly name: string;
  /** `rate(5 minutes)`, `cron(0 3 * * ? *)`. */
  readonly expression: string;
  /** IANA. */
  readonly timeZone: string;
  readonly functionName: string;
  /** What the function gets. `scheduledTime` is ISO 8601 in whole seconds. */
  readonly event: (scheduledTime: string) => unknown;
}

export interface ScheduleStatus {
  readonly name: string;
  readonly expression: string;
  readonly timeZone: string;
  readonly function: string;
  /** ISO 8601; null where it never fires again. */
  readonly next: string | null;
}

export interface Scheduler extends Disposable {
  schedules(): readonly ScheduleStatus[];
  /** Fires the schedule now. Returns the scheduled time of its event, or undefined if there is no such schedule. */
  fire(name: string): string | undefined;
}

/** The longest timer of Node; a later time is reached in steps. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Fires each schedule at its times until it is disposed.
 *
 * @throws Error naming an invalid expression or time zone.
 */
export function startScheduler(schedules: readonly Schedule[], deliveries: Deliveries): Scheduler {
  const startMs = Date.now();
  const timers = new Map<string, NodeJS.Timeout>();
  const entries = schedules.map((schedule) => ({
    schedule,
    firing: parseSchedule(schedule.expression, schedule.timeZone, startMs),
  }));

  const deliver = ({ functionName, event }: Schedule, atMs: number): string => {
    const scheduledTime = wholeSeconds(atMs);
    deliveries.deliver(functionName, event(scheduledTime));
    return scheduledTime;
  };
  const wait = (schedule: Schedule, firing: Firing, atMs: number): void => {
    const waitMs = Math.min(Math.max(0, atMs - Date.now()), MAX_TIMER_MS);
    timers.set(
      schedule.name,
      setTimeout(() => {
        // The system clock was set back, or the wait is longer than a timer can be.
        if (Date.now() < atMs) {
          wait(schedule, firing, atMs);
          return;
        }
        deliver(schedule, atMs);
        plan(schedule, firing, Date.now());
      }, waitMs),
    );
  };
  const plan = (schedule: Schedule, firing: Firing, afterMs: number): void => {
    const atMs = firing.next(afterMs);
    if (atMs === undefined) timers.delete(schedule.name);
    else wait(schedule, firing, atMs);
  };
  for (const { schedule, firing } of entries) plan(schedule, firing, startMs);

  return {
    schedules: () =>
      entries.map(({ schedule: { name, expression, timeZone, functionName }, firing }) => {
        const nextMs = firing.next(Date.now());
        const next = nextMs === undefined ? null : wholeSeconds(nextMs);
        return { name, expression, timeZone, function: functionName, next };
      }),
    fire: (name) => {
      const entry = entries.find(({ schedule }) => schedule.name === name);
      return entry === undefined ? undefined : deliver(entry.schedule, Date.now());
    },
    [Symbol.dispose]: () => {
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}

const wholeSeconds = (timeMs: number): string => `${new Date(timeMs).toISOString().slice(0, 19)}Z`;
