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
 * A run is known by its warm-up and scheduled time, however often its event is delivered, and by whichever process:
 *
 *   delivered ─► ended and announced? ──yes──────────────────────────────────────────────► the summary that is kept
 *                    │ no
 *                    ▼
 *               its lease ──held by a live process──────────────────────────────────────► nothing: that one does it
 *                    ▼ ours (free, or its holder is dead)
 *               ended? ──no──► look at everything, pull what changed ─► keep the summary
 *                    │ yes                                                    │
 *                    └──────────────────────────► announce ◄──────────────────┘
 *                                                     ▼
 *                                          record that it was announced
 *
 * Killed before the summary is kept: the next delivery looks again at everything; pulls that were started are joined, or found to be done. Killed before
 * the announcement is recorded: it is announced again, the same. Time that is over ends a run like any other: what was left undone is in its summary, and
 * found by the next run of the schedule, because it still differs.
 */

/** To keep and announce the summary when the time is over. Within what the function keeps back for its end. */
const GRACE_MS = 6_000;

export interface WarmupDeps extends WarmUpDeps {
  readonly leases: Pick<Leases, 'tryAcquire'>;
  readonly runs: WarmupRuns;
  readonly announcer: Announcer;
}

/**
 * Makes sure that one run of the warm-up happened once: looks at every image by HEAD, starts pulls for what changed, announces `Warmup Finished`.
 *
 * Answers with what the run did, also where another delivery did it before; undefined where another process is at it now.
 *
 * @throws CacheError (retryable) if the summary could not be kept or announced, or the lease was lost: the same call again goes on.
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
  const summary = ended?.summary ?? (await carryOut(deps, settings, run, lease, time));

  await withGrace(time.signal, GRACE_MS, async (late) => {
    if (ended === undefined) await deps.runs.end(summary, lease, late);
    await deps.announcer.announce({ type: 'Warmup Finished', detail: summary }, late);
    await deps.runs.announced(run, lease, late);
  });
  return summary;
}

async function carryOut(
  deps: WarmupDeps,
  settings: WarmupSettings,
  run: WarmupRun,
  lease: Lease,
  time: RunTime,
): Promise<WarmupSummary> {
  await deps.runs.begin(run, lease, time.signal);
  const tally = runTally(run);
  await warmUp(deps, settings, { ...time, signal: AbortSignal.any([time.signal, lease.signal]) }, tally);
  // Somebody else does it now: what we tallied is not what happened.
  lease.signal.throwIfAborted();
  return tally.summary();
}

/** The lease, unless its holder is seen to renew it. */
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
