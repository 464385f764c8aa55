import { amountOf, parseTask, type PlanAnswer, pullTask, recordOfTask } from './tasks.ts';
import { isEnded, type PullRecord } from './pull-record.ts';
import { fenceOf } from '../lock/fence.ts';
import type { Lease } from '../lock/lease.ts';
import { askCache } from '../pull/hit.ts';
import { hitOrOurs, prepare, type HeldPull, type Prepared } from '../pull/prepare.ts';
import { keptContext } from '../pull/publish.ts';
import { receiptDraft } from '../pull/receipt-draft.ts';
import { batchesOf, formatPlan } from './plan-document.ts';
import { announceEnd, succeed } from './ending.ts';
import { freeLock, lockFor } from './job-lock.ts';
import { asTask, finalError, NoProgressError } from './task-error.ts';
import type { JobDeps } from './jobs.ts';

/** Content that is swept during a pull, or a lost lock, are rare. If they happen this often, something else is wrong. */
const MAX_PLANS = 5;

/**
 * The first step of the pull (lib/pull/prepare.ts). A hit, or a pull whose content is complete, ends here. Otherwise the lock is kept for the next task, and a document
 * under plans/ lists what to copy and to publish.
 *
 * Safe to repeat: it plans again, under the lock of the earlier try if that is still held.
 *
 * @throws TaskError
 */
export const planTask = (outer: JobDeps, event: unknown, signal: AbortSignal): Promise<PlanAnswer> =>
  asTask(outer, async (deps) => {
    const { id } = parseTask(pullTask, event);
    const record = await recordOfTask(deps, id, signal);
    const done: PlanAnswer = { id, outcome: 'done' };
    if (isEnded(record)) {
      if (record.state === 'succeeded') await announceEnd(deps, record, signal);
      await freeLock(deps, record.lock, signal);
      return done;
    }
    if (record.plans >= MAX_PLANS) throw tooManyPlans(record);

    const { request, startedMs } = record;
    const draft = receiptDraft(request.reference);
    const { wanted, found, hit } = await askCache(deps.pull, request, draft, signal);
    if (hit !== undefined) {
      await succeed(deps, record, hitOrOurs(startedMs, found?.pointer, hit), signal);
      await freeLock(deps, record.lock, signal);
      return done;
    }

    const upstream = await deps.pull.upstreams.open(request.reference.repository, signal);
    await using lock = await lockFor(deps, record, signal);
    const begun = await deps.records.begin(id, fenceOf(lock), signal);
    // Ended from outside while we waited for the lock.
    if (begun === undefined) return done;
    const work = AbortSignal.any([signal, lock.signal]);
    // Callers with `alwaysPull` join until the pull begins, so only our own resolution is new enough for all of them.
    const held = { deps: deps.pull, upstream, request, wanted, lock, draft, signal: work, begunMs: begun.startedMs };
    const { receipt, prepared } = await prepare(held);
    if (prepared === undefined) {
      await succeed(deps, begun, receipt, work);
      return done;
    }
    const answer = await writePlan(deps, begun, lock, held, prepared);
    await lock.letGo();
    return answer;
  });

async function writePlan(
  deps: JobDeps,
  { id, plans }: PullRecord,
  lock: Lease,
  { draft, upstream, signal }: HeldPull,
  { domain, content, missing, context, covered, unchanged }: Prepared,
): Promise<PlanAnswer> {
  draft.covered(covered);
  const receipt = draft.finish('pulled', upstream.requests);
  deps.metrics.add('BytesCopied', receipt.bytes.copied);
  const batches = batchesOf(missing, deps.batchBytes);
  const kept = context && { context: keptContext(context) };
  const document = { id, lock: fenceOf(lock), domain, content, batches, ...kept, unchanged, receipt };
  const key = await deps.plans.write(id, plans, formatPlan(document), signal);
  await deps.records.planned(id, { total: amountOf(content.blobs), missing: amountOf(missing) }, signal);
  const tasks = batches.map((_, batch) => ({ id, plan: key, batch, idle: 0, waits: 0, keptBytes: 0 }));
  return { id, outcome: 'copy', plan: key, batches: tasks };
}

const tooManyPlans = ({ id, plans }: PullRecord): Error =>
  finalError(
    new NoProgressError(
      'plan',
      `pull ${id} was planned ${plans} times, and each time it lost its lock, content was deleted meanwhile, or planning failed; see the log, and pull again`,
    ),
  );
