import { parseSchedule, type Firing } from './schedule-expression.ts';
import type { Deliveries } from './deliveries.ts';

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
  /** Fires the schedule now, as if it were time; gives the time that the function is told, or undefined where there is no such schedule. */
  fire(name: string): string | undefined;
}

/** The longest that a timer of Node takes; a later moment is reached in steps. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Fires each schedule at its times until it is disposed.
 *
 * @throws Error naming an expression or time zone that is none.
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
        // The clock on the wall may have been put back meanwhile, or the wait was longer than a timer can be.
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
