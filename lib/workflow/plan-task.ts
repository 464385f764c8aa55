import type { Found, Pointer } from '../catalog/catalog.ts';
import { isEnded, type Amount, type PullRecord } from '../fill/pull-record.ts';
import type { Lease } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { copier } from '../pull/copier.ts';
import type { Wanted } from '../pull/coverage.ts';
import { askCache, isAnswered, receiptOfHit } from '../pull/hit.ts';
import { contentOf, planPull } from '../pull/plan.ts';
import { coveredBy, publish, publishedKnown, storeManifests } from '../pull/publish.ts';
import { draftPresent, receiptDraft, type ReceiptDraft } from '../pull/receipt-draft.ts';
import type { Receipt } from '../pull/receipt.ts';
import { ensureRecorded } from '../pull/ref-order.ts';
import { resolveRoot, type Resolved } from '../pull/resolve.ts';
import { findRestored } from '../pull/whole.ts';
import type { Upstream } from '../registry/upstream.ts';
import { batchesOf } from './batches.ts';
import { announceEnd, succeed } from './ending.ts';
import { freeLock, lockFor } from './lock.ts';
import { formatPlan, type PlanDocument } from './plan-document.ts';
import { asTask, finalError, NoProgressError } from './task-error.ts';
import { parsePullTask, recordOf } from './task-input.ts';
import type { PlanAnswer } from './tasks.ts';
import type { WorkflowDeps } from './workflow-deps.ts';

/** Content that is swept under a pull, or a lock that is lost, are rare: a pull to which it happens so often meets something else. */
const MAX_PLANS = 5;

/**
 * Steps 1 to 5 of the pull (lib/pull/pull.ts): a hit, or a pull whose content is all there, ends here. Else the lock is kept for the next task, the manifests
 * are in the store, and a document under plans/ says what there is to copy and to publish.
 *
 * Repeating it is safe: it begins anew, under the lock that it may have left.
 *
 * @throws TaskError
 */
export const planTask = (outer: WorkflowDeps, event: unknown, signal: AbortSignal): Promise<PlanAnswer> =>
  asTask(outer, async (deps) => {
    const { id } = parsePullTask(event);
    const record = await recordOf(deps, id, signal);
    const done: PlanAnswer = { id, outcome: 'done' };
    if (isEnded(record)) {
      if (record.state === 'succeeded') await announceEnd(deps, record, signal);
      await freeLock(deps, record.lock, signal);
      return done;
    }
    if (record.plans >= MAX_PLANS) throw tooManyPlans(record);

    // 1. Ask the cache. Here a hit ends.
    const draft = receiptDraft(record.request.reference);
    const arrival = await askCache(deps.pull, record.request, draft, signal);
    if (arrival.hit !== undefined) {
      await succeed(deps, record, hitOrOurs(record, arrival.found?.pointer, arrival.hit), signal);
      await freeLock(deps, record.lock, signal);
      return done;
    }

    // 2. One puller per reference from here on.
    const upstream = await deps.pull.upstreams.open(record.request.reference.repository, signal);
    await using lock = await lockFor(deps, record, signal);
    const begun = await deps.records.begin(id, fenceOf(lock), signal);
    // Ended from outside while we waited.
    if (begun === undefined) return done;
    const work = AbortSignal.any([signal, lock.signal]);
    const planning = { deps, record: begun, upstream, lock, draft, wanted: arrival.wanted, signal: work };
    const answer = await planUnderLock(planning);
    if ('batches' in answer) await lock.letGo();
    else await succeed(deps, begun, answer.receipt, work);
    return 'batches' in answer ? answer : done;
  });

/** A pull that holds its lock. */
interface Planning {
  readonly deps: WorkflowDeps;
  readonly record: PullRecord;
  readonly upstream: Upstream;
  readonly lock: Lease;
  readonly draft: ReceiptDraft;
  readonly wanted: Wanted;
  readonly signal: AbortSignal;
}

type Planned = Extract<PlanAnswer, { outcome: 'copy' }> | { readonly receipt: Receipt };

async function planUnderLock(planning: Planning): Promise<Planned> {
  const { deps, record, upstream, lock, draft, wanted, signal } = planning;
  const { request } = record;

  // 3. Somebody may just have finished, or have brought back what was lost. Callers with `alwaysPull` join until the pull begins: for the last of them no resolution
  // but our own is new enough.
  const now = await findRestored(deps.pull, request.reference, wanted, signal);
  if (isAnswered(request, undefined, now, wanted)) {
    draft.recorded(await ensureRecorded(deps.pull, request.reference, now, signal));
    return { receipt: hitOrOurs(record, now.pointer, receiptOfHit(draft, now, wanted)) };
  }

  // 4. What does the name mean, under the lock? If we have that already, only the pointer moves, and not even that if it is there.
  const resolved = await resolveRoot(deps.pull, upstream, request, now, wanted, lock, signal);
  if (resolved.known !== undefined) return { receipt: await publishKnownRoot(planning, now, resolved) };
  const { checkedMs, pointer, found, manifest } = resolved;
  const ground = { pointer, checkedMs, epoch: found.epoch };
  draft.resolved(manifest.descriptor);
  return await writePlan(planning, ground, manifest);
}

async function publishKnownRoot(
  { deps, record, upstream, lock, draft, signal }: Planning,
  now: Found,
  { checkedMs, pointer, found, known }: Extract<Resolved, { known: object }>,
): Promise<Receipt> {
  draftPresent(draft, known.root, known.covered);
  const { reference } = record.request;
  if (pointer?.published === known.root.digest) {
    draft.recorded(await ensureRecorded(deps.pull, reference, now, signal));
    return hitOrOurs(record, pointer, draft.finish('hit', upstream.requests));
  }
  const ground = { reference, pointer, checkedMs, found };
  draft.recorded(await publish(deps.pull, ground, publishedKnown(known.root, known.covered), lock, signal));
  return draft.finish('pulled', upstream.requests);
}

/** A hit, unless an earlier try of this pull moved the pointer, and died before it could say so. */
function hitOrOurs({ startedMs }: PullRecord, pointer: Pointer | undefined, hit: Receipt): Receipt {
  const moved = startedMs !== undefined && (pointer?.publishedMs ?? 0) >= startedMs;
  return moved ? { ...hit, outcome: 'pulled' } : hit;
}

/** 5. What is wanted, minus what is there (and may be used, I9). */
async function writePlan(
  { deps, record, upstream, lock, draft, wanted, signal }: Planning,
  ground: PlanDocument['ground'],
  root: Exclude<Resolved['manifest'], undefined>,
): Promise<Planned> {
  const { id, request } = record;
  const { find, obtain } = copier(deps.pull, upstream, draft, signal);
  const plan = await planPull({ deps: deps.pull, upstream, request, wanted, signal, obtain }, root);
  draft.planned(plan);
  const missing = await find(plan.blobs);
  // Invisible without links. So publishing needs no registry, and no manifest is fetched twice.
  await storeManifests(deps.pull, upstream, [...plan.manifests, plan.root], signal);

  draft.covered(coveredBy(plan));
  const receipt = draft.finish('pulled', upstream.requests);
  deps.metrics.add('BytesCopied', receipt.bytes.copied);
  const batches = batchesOf(missing, deps.batchBytes);
  const content = contentOf(plan);
  const document = { id, lock: fenceOf(lock), domain: upstream.domain, content, batches, ground, receipt };
  const key = await deps.plans.write(id, record.plans, formatPlan(document), signal);
  await deps.records.planned(id, { total: amountOf(plan.blobs), missing: amountOf(missing) }, signal);
  const tasks = batches.map((_, batch) => ({ id, plan: key, batch, idle: 0, waits: 0, keptBytes: 0 }));
  return { id, outcome: 'copy', plan: key, batches: tasks };
}

const fenceOf = ({ name, holder, generation }: Lease) => ({ name, holder, generation });

const amountOf = (blobs: readonly Descriptor[]): Amount => ({
  blobs: blobs.length,
  bytes: blobs.reduce((sum, { size }) => sum + size, 0),
});

const tooManyPlans = ({ id, plans }: PullRecord): Error =>
  finalError(
    new NoProgressError(
      'plan',
      `pull ${id} was planned ${plans} times, and each time its lock was lost, content that it counted on went away, or planning failed; see the log, and pull again`,
    ),
  );
