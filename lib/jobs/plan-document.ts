import * as z from 'zod/mini';
import type { Pointer } from '../catalog/catalog.ts';
import { InvalidManifestError, StoreError } from '../errors/cache-error.ts';
import { fence, type Fence } from '../lock/fence.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import {
  count,
  decode,
  descriptor,
  digest,
  flag,
  indexEntry,
  array,
  named,
  record,
  ShapeError,
  string,
} from '../oci/schemas.ts';
import type { PlannedContent } from '../pull/plan.ts';
import type { KeptContext } from '../pull/publish.ts';
import { receipt, type Receipt } from '../pull/receipt.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { pullLeaseName } from '../table/keys.ts';
import type { PullRecord } from './pull-record.ts';

/** A thousand manifests and ten thousand blobs take 3 MB. */
export const MAX_PLAN_BYTES = 32 * 1024 * 1024;

const VERSION = 1;

/** The result of one planning: everything that its copy and publish tasks need, without the content itself. */
export interface PlanDocument {
  /** Of the pull. */
  readonly id: string;
  /** The lock under which the plan is valid. */
  readonly lock: Fence;
  /** The trust domain of the fetched content (I9): a task with another identity at the registry must plan again. */
  readonly domain: TrustDomain;
  readonly content: PlannedContent;
  /** Those of `content.blobs` that are missing in the cache, split for the copy tasks. */
  readonly batches: readonly (readonly Descriptor[])[];
  /** The publication context of the reference under the lock; absent if nothing is published. */
  readonly context?: KeptContext;
  /** Whether the pull is a hit if the registry still lacks every blob of the batches. */
  readonly unchanged: boolean;
  /** As if everything were stored; counts only the requests of the planning itself. */
  readonly receipt: Receipt;
}

/**
 * The document as it is stored.
 *
 * @throws InvalidManifestError if the image is too large for one.
 */
export function formatPlan({ content, batches, ...plan }: PlanDocument): Uint8Array {
  const positions = new Map(content.blobs.map(({ digest }, position) => [digest, position]));
  // Each blob is in `content.blobs`, with the same size. Its media type may differ, but is not needed here.
  const positionsOf = (blobs: readonly Descriptor[]) => blobs.map(({ digest }) => positions.get(digest));
  const contents = [...content.contents].map(([entry, blobs]) => ({ entry, blobs: positionsOf(blobs) }));
  const document = { version: VERSION, ...plan, batches: batches.map(positionsOf), content: { ...content, contents } };
  const bytes = Buffer.from(JSON.stringify(document));
  if (bytes.byteLength > MAX_PLAN_BYTES) {
    throw new InvalidManifestError(
      `the plan of this image takes ${bytes.byteLength} bytes, at most ${MAX_PLAN_BYTES} are allowed; ask for fewer platforms`,
    );
  }
  return bytes;
}

/**
 * The document in `bytes`, which came from `key`.
 *
 * @throws StoreError if it is not a plan of {@link formatPlan}, or not of this pull and its reference.
 */
export function parsePlan(
  bytes: Uint8Array,
  key: string,
  { id, request: { reference } }: Pick<PullRecord, 'id' | 'request'>,
): PlanDocument {
  try {
    const plan = decode(keptPlan, JSON.parse(Buffer.from(bytes).toString('utf8')), 'plan');
    if (plan.id !== id) throw new ShapeError('plan.id', `that of pull ${id}`);
    const lock = pullLeaseName(reference);
    if (plan.lock.name !== lock) throw new ShapeError('plan.lock.name', lock);
    return planOf(plan);
  } catch (error) {
    if (!(error instanceof ShapeError || error instanceof SyntaxError)) throw error;
    throw new StoreError('read plan', `${key} is not a valid plan: ${error.message}; pull again`, error, false);
  }
}

/** Each blob is listed once; everything else refers to it by its position. */
function planOf({ version: _, content, batches, context, ...plan }: z.output<typeof keptPlan>): PlanDocument {
  const { blobs, root } = content;
  if ((root === undefined) !== (context === undefined)) throw new ShapeError('plan.context', 'that of a root');
  const blobAt = (position: number): Descriptor => {
    const found = blobs[position];
    if (found === undefined) throw new ShapeError(`position ${position}`, `below ${blobs.length}`);
    return found;
  };
  const contents = new Map(content.contents.map((one) => [one.entry, one.blobs.map(blobAt)]));
  return {
    ...plan,
    content: { ...content, contents },
    batches: batches.map((positions) => positions.map(blobAt)),
    ...(context === undefined ? {} : { context: { ...context, pointer: context.pointer } }),
  };
}

const pointer: z.ZodMiniType<Pointer> = record({
  generation: count,
  resolved: z.exactOptional(digest),
  checkedMs: z.exactOptional(count),
  resolutions: z.exactOptional(count),
  resolvedBy: z.exactOptional(string),
  published: z.exactOptional(digest),
  publishedMs: z.exactOptional(count),
  publishedBy: z.exactOptional(string),
  previous: z.exactOptional(digest),
  missingMs: z.exactOptional(count),
  removedMs: z.exactOptional(count),
  incarnation: z.exactOptional(count),
  recorded: z.exactOptional(count),
});

const keptPlan = record({
  version: z.literal(VERSION, String(VERSION)),
  id: string,
  lock: fence,
  domain: named<TrustDomain>(),
  content: record({
    root: z.exactOptional(descriptor),
    manifests: array(descriptor),
    entries: array(indexEntry),
    contents: array(record({ entry: digest, blobs: array(count) })),
    blobs: array(descriptor),
    foreign: array(z.intersection(descriptor, record({ entry: digest }))),
    optional: z._default(array(digest), []),
    skipped: z._default(array(digest), []),
  }),
  batches: array(array(count)),
  context: z.exactOptional(record({ pointer: z.optional(pointer), checkedMs: count, epoch: count })),
  unchanged: z._default(flag, false),
  receipt,
});

/** The list of batches must fit into the state of 256 KB, and each batch takes some of the 25,000 events of an execution. */
export const MAX_BATCHES = 200;

/** Enough work for one invocation; batches run in parallel. */
const BATCH_BYTES = 128 * 1024 * 1024;
/** The cost of a blob's requests and rows, in bytes. */
const BLOB_OVERHEAD_BYTES = 1024 * 1024;

interface Batch {
  readonly blobs: Descriptor[];
  weight: number;
}

/**
 * The blobs in at most {@link MAX_BATCHES} batches: each blob in exactly one, no batch empty, and none heavier than the average by more than its lightest
 * blob. The largest blob of a batch comes first, so that it starts first.
 */
export function batchesOf(blobs: readonly Descriptor[], batchBytes = BATCH_BYTES): readonly (readonly Descriptor[])[] {
  const weigh = ({ size }: Descriptor): number => size + BLOB_OVERHEAD_BYTES;
  const total = blobs.reduce((sum, blob) => sum + weigh(blob), 0);
  const count = Math.min(MAX_BATCHES, blobs.length, Math.ceil(total / batchBytes));
  const batches = Array.from({ length: count }, (): Batch => ({ blobs: [], weight: 0 }));
  // Largest first, each to the lightest batch so far.
  for (const blob of [...blobs].sort((a, b) => b.size - a.size)) {
    const lightest = batches.reduce((least, batch) => (batch.weight < least.weight ? batch : least));
    lightest.blobs.push(blob);
    lightest.weight += weigh(blob);
  }
  return batches.map((batch) => batch.blobs);
}
