import { setTimeout as delay } from 'node:timers/promises';
import { CacheError, DeadlineError } from '../../../lib/errors/cache-error.ts';
import type { Jobs } from '../../../lib/jobs/jobs.ts';
import type { PullFailure } from '../../../lib/pull/failure.ts';
import type { PullRecord } from '../../../lib/jobs/pull-record.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import { pull } from '../../../lib/pull/pull.ts';
import { formatReference, parseReference } from '../../../lib/reference/reference.ts';
import type { Services } from '../../../lib/services.ts';
import type { Announcement, WarmupSummary } from '../../../lib/jobs/announcer.ts';
import type { MetricName } from '../../../lib/telemetry/telemetry.ts';
import type { RunTime } from '../../../lib/warmup/registry-pace.ts';
import { runWarmup, type WarmupDeps } from '../../../lib/warmup/run-warmup.ts';
import type { TagRule, WarmupEntry, WarmupSettings } from '../../../lib/warmup/warmup-settings.ts';

const forever = new AbortController().signal;

/** An entry as the configuration writes it. */
export interface EntrySpec {
  readonly reference?: string;
  readonly repository?: string;
  readonly tags?: TagRule;
  readonly platforms?: readonly string[];
}

let warmups = 0;

/** A warm-up of these entries, under a name of its own. */
export function warmupOf(entries: readonly EntrySpec[], parallel = 4): WarmupSettings {
  return {
    name: `warmup-${++warmups}`,
    schedule: 'rate(1 day)',
    timeZone: 'UTC',
    parallel,
    entries: entries.map(({ reference, repository, tags = {}, platforms = [] }): WarmupEntry => {
      const parsed = parseReference(reference ?? repository ?? '');
      const what =
        reference === undefined
          ? ({ kind: 'repository', repository: parsed.repository, tags } as const)
          : ({ kind: 'reference', reference: parsed } as const);
      return { what, platforms: platforms.map((text) => parsePlatform(text)), attestations: true };
    }),
  };
}

/** A run that may take this long. */
export function timeOf(workMs = 20_000): RunTime {
  const stop = new AbortController();
  setTimeout(() => stop.abort(new DeadlineError('the time is over')), workMs).unref();
  return { signal: stop.signal, endsAtMs: Date.now() + workMs };
}

/** Pulls in this process instead of workflows: joined and recorded in the same rows. */
export interface LocalJobs extends Jobs, AsyncDisposable {
  /** References, in the order in which their pulls began. */
  readonly started: string[];
  /** The most pulls that ran at the same time. */
  mostAtOnce(): number;
  /** How long each pull takes beside its work. */
  delayMs: number;
}

export function localJobs({ pull: deps, records }: Services): LocalJobs {
  const running = new Set<Promise<void>>();
  const started: string[] = [];
  let most = 0;

  async function carryOut(record: PullRecord): Promise<void> {
    try {
      await delay(jobs.delayMs);
      await records.succeed(record.id, await pull(deps, record.request, forever), forever);
    } catch (error) {
      await records.fail(record.id, failureOf(error), forever);
    }
  }
  const jobs: LocalJobs = {
    started,
    delayMs: 0,
    mostAtOnce: () => most,
    async start(request, signal) {
      const { record, created } = await records.join(request, signal);
      if (created) {
        started.push(formatReference(request.reference));
        const work = carryOut(record).finally(() => running.delete(work));
        running.add(work);
        most = Math.max(most, running.size);
      }
      return record;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(running);
    },
  };
  return jobs;
}

function failureOf(error: unknown): PullFailure {
  const { name, message } = error as Error;
  const code = error instanceof CacheError ? error.code : undefined;
  return { name, message, status: 500, retryable: false, ...(code === undefined ? {} : { code }) };
}

/** Warm-ups of one cache, and what they said. */
export interface WarmupBench {
  readonly deps: WarmupDeps;
  readonly jobs: LocalJobs;
  readonly announced: Announcement[];
  /** Errors of entries, by entry. */
  readonly failed: Map<string, unknown>;
  readonly counted: Map<MetricName, number>;
  run(settings: WarmupSettings, scheduledTime: string, time?: RunTime): Promise<WarmupSummary>;
}

export function warmupBench(services: Services, jobs: LocalJobs): WarmupBench {
  const announced: Announcement[] = [];
  const failed = new Map<string, unknown>();
  const counted = new Map<MetricName, number>();
  const { catalog, records, warmupRuns: runs, defaultPlatforms } = services;
  const { upstreams, leases } = services.pull;
  const deps: WarmupDeps = {
    catalog,
    upstreams,
    jobs,
    records,
    leases,
    runs,
    defaultPlatforms,
    metrics: { add: (name, value) => void counted.set(name, (counted.get(name) ?? 0) + value) },
    failed: (entry, error) => void failed.set(entry, error),
    announcer: {
      announce: (announcement) => {
        announced.push(announcement);
        return Promise.resolve();
      },
    },
  };
  return {
    deps,
    jobs,
    announced,
    failed,
    counted,
    async run(settings, scheduledTime, time = timeOf()) {
      const summary = await runWarmup(deps, settings, scheduledTime, time);
      if (summary === undefined) throw new Error('another process was at it');
      return summary;
    },
  };
}
