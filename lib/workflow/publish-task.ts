import type { Pointer } from '../catalog/catalog.ts';
import { isEnded, type PullRecord } from '../fill/pull-record.ts';
import type { Lease } from '../lock/lease.ts';
import { linkContent, publish, publishedByPlan, recordRef } from '../pull/publish.ts';
import type { BlobTally, Receipt } from '../pull/receipt.ts';
import { announceEnd, succeed } from './ending.ts';
import { freeLock, underLock } from './lock.ts';
import { MAX_PLAN_BYTES, parsePlan, type PlanDocument } from './plan-document.ts';
import { sumOfMoved, sumOfRequests, type Moved } from './receipt-document.ts';
import { asTask } from './task-error.ts';
import { broken, parsePublishTask, recordOf } from './task-input.ts';
import type { PublishTask, PullTask } from './tasks.ts';
import type { WorkflowDeps } from './workflow-deps.ts';

/**
 * Step 7 of the pull (lib/pull/pull.ts): links, uses, and the pointer last of all, if the lock is still ours. Then the pull has its receipt, and the lock is
 * free. Repeating it is safe: what happened already is not done twice.
 *
 * @throws TaskError
 */
export const publishTask = (outer: WorkflowDeps, event: unknown, signal: AbortSignal): Promise<PullTask> =>
  asTask(outer, async (deps) => {
    const task = parsePublishTask(event);
    const { id } = task;
    const record = await recordOf(deps, id, signal);
    if (isEnded(record)) {
      if (record.state === 'succeeded') await announceEnd(deps, record, signal);
      await freeLock(deps, record.lock, signal);
      return { id };
    }
    const plan = parsePlan(await deps.plans.read(task.plan, MAX_PLAN_BYTES, signal), task.plan, id);
    requireAll(task, plan);
    await underLock(deps, plan.lock, signal, async (lock, work) => {
      const recordError = await publishOnce(deps, record, plan, lock, work);
      const receipt = receiptOf(plan, task);
      await succeed(deps, record, recordError === undefined ? receipt : { ...receipt, recordError }, work);
      await lock.release();
    });
    return { id };
  });

/** The root is complete only if every batch of this plan is (I2). */
function requireAll({ plan: key, batches }: PublishTask, plan: PlanDocument): void {
  const done = new Set(
    batches.filter(({ plan: of, outcome }) => of === key && outcome === 'done').map(({ batch }) => batch),
  );
  const open = [...plan.batches.keys()].filter((batch) => !done.has(batch));
  if (open.length > 0) throw broken(`batches ${open.join(', ')} of ${key} were not copied`);
}

async function publishOnce(
  deps: WorkflowDeps,
  { request: { reference } }: PullRecord,
  { content, ground }: PlanDocument,
  lock: Lease,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { pointer } = await deps.pull.catalog.find(reference, { consistent: true, signal });
  const published = publishedByPlan(content);
  const root = await deps.pull.catalog.findRoot(reference.repository, content.root.digest, signal);
  const { epoch, ...meant } = ground;
  const context = { reference, ...meant, found: { ...root, epoch } };
  if (isOurs(pointer)) return await recordRef(deps.pull, context, published, pointer, signal);
  await linkContent(deps.pull, reference.repository, content, signal);
  return await publish(deps.pull, context, published, lock, signal);

  /** Nobody else moves the pointer under our lock: an earlier invocation of this task did, and died before the record or the receipt. */
  function isOurs(found: Pointer | undefined): found is Pointer {
    return (
      found?.generation === (ground.pointer?.generation ?? 0) + 1 &&
      found.published === content.root.digest &&
      found.checkedMs === ground.checkedMs
    );
  }
}

function receiptOf({ receipt }: PlanDocument, { batches }: PublishTask): Receipt {
  const sum = (kind: 'blobs' | 'bytes'): BlobTally => ({
    total: receipt[kind].total,
    ...batches.map((batch) => batch[kind]).reduce<Moved>(sumOfMoved, movedOf(receipt[kind])),
  });
  return {
    ...receipt,
    blobs: sum('blobs'),
    bytes: sum('bytes'),
    registryRequests: batches.map(({ requests }) => requests).reduce(sumOfRequests, receipt.registryRequests),
  };
}

const movedOf = ({ present, copied, copiedElsewhere }: Moved): Moved => ({ present, copied, copiedElsewhere });
