import { warmupLeaseName } from '../table/keys.ts';
import { withGrace } from '../async/time.ts';
import { sleep } from '../async/time.ts';
import { leaseWatch } from '../lock/heartbeat.ts';
import { isLease, type Lease, type Leases } from '../lock/lease.ts';
import type { Announcer, WarmupSummary } from '../jobs/announcer.ts';
import type { RunTime } from './registry-pace.ts';
import { runTally, type WarmupRun, type WarmupRuns } from './warmup-runs.ts';
import { warmUp, type WarmUpDeps } from './warm-up.ts';
import type { WarmupSettings } from './warmup-settings.ts';

/*
 * A run is identified by its warm-up and scheduled time, so that repeated deliveries of its event are the same run:
 *
 *   delivered ─► ended and announced? ──yes──────────────────────────────────────────────► the stored summary
 *                    │ no
 *                    ▼
 *               its lease ──held by a live process──────────────────────────────────────► nothing: that process runs it
 *                    ▼ ours (free, or its holder is dead)
 *               ended? ──no──► check every image, pull what changed ──► store the summary
 *                    │ yes                                                    │
 *                    └──────────────────────────► announce ◄──────────────────┘
 *                                                     ▼
 *                                          record that it was announced
 *
 * Killed before the summary is stored: the next delivery checks everything again, and joins or finds the pulls that were started. Killed before the announcement is
 * recorded: the same summary is announced again. A run also ends at its deadline: its summary lists what is left undone, and the next scheduled run does it.
 */

/** Time to store and announce the summary after the deadline; the function reserves it. */
const GRACE_MS = 6_000;

export interface WarmupDeps extends WarmUpDeps {
  readonly leases: Pick<Leases, 'tryAcquire'>;
  readonly runs: WarmupRuns;
  readonly announcer: Announcer;
}

/**
 * Runs the warm-up once: checks every image by HEAD, starts pulls for what changed, announces `Warmup Finished`.
 *
 * Returns the summary of the run, also if an earlier delivery did it; undefined if another process is running it now.
 *
 * @throws CacheError (retryable) if the summary could not be stored or announced, or the lease was lost: the same call again goes on.
 */
export async function runWarmup(
  deps: WarmupDeps,
  settings: WarmupSettings,
  scheduledTime: string,
  time: RunTime,
): Promise<WarmupSummary | undefined> {
  const run: WarmupRun = { warmup: settings.name, scheduledTime };
  const before = await deps.runs.find(run, time.signal);
  if (before?.announced === true) return before.summary;

  await using lease = await acquireUnlessAlive(deps.leases, warmupLeaseName(run.warmup, scheduledTime), time.signal);
  if (lease === undefined) return undefined;
  const ended = await deps.runs.find(run, time.signal);
  if (ended?.announced === true) return ended.summary;
  const summary = ended?.summary ?? (await checkAndPull(deps, settings, run, lease, time));

  await withGrace(time.signal, GRACE_MS, async (late) => {
    if (ended === undefined) await deps.runs.end(summary, lease, late);
    await deps.announcer.announce({ type: 'Warmup Finished', detail: summary }, late);
    await deps.runs.announced(run, lease, late);
  });
  return summary;
}

async function checkAndPull(
  deps: WarmupDeps,
  settings: WarmupSettings,
  run: WarmupRun,
  lease: Lease,
  time: RunTime,
): Promise<WarmupSummary> {
  await deps.runs.begin(run, lease, time.signal);
  const tally = runTally(run);
  await warmUp(deps, settings, { ...time, signal: AbortSignal.any([time.signal, lease.signal]) }, tally);
  // If the lease is lost, another process runs it, and our tally is not the result.
  lease.signal.throwIfAborted();
  return tally.summary();
}

/** The lease; undefined if its holder renews it. */
async function acquireUnlessAlive(
  leases: Pick<Leases, 'tryAcquire'>,
  name: string,
  signal: AbortSignal,
): Promise<Lease | undefined> {
  const watch = leaseWatch();
  let seen: string | undefined;
  for (;;) {
    const outcome = await leases.tryAcquire(name, watch, signal);
    if (isLease(outcome)) return outcome;
    if (seen !== undefined && outcome.version !== seen) return undefined;
    seen = outcome.version;
    await sleep(watch.nextDelayMs(), signal);
  }
}
