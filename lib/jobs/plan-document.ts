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

/** What one planning found, and what its copy and publish tasks need: everything but the content itself. */
export interface PlanDocument {
  /** The pull's. */
  readonly id: string;
  /** The lock under which it holds. */
  readonly lock: Fence;
  /** What fetching proves (I9): a task that reads the registry as somebody else has to plan again. */
  readonly domain: TrustDomain;
  readonly content: PlannedContent;
  /** Those of `content.blobs` that the cache lacked, split for the copy tasks. */
  readonly batches: readonly (readonly Descriptor[])[];
  /** What was known of the reference under the lock; absent where nothing is published. */
  readonly context?: KeptContext;
  /** The pull is a hit, if the registry still lacks all that the batches name (`unchanged` of what was prepared). */
  readonly unchanged: boolean;
  /** As if all had landed; counts only what the planning itself did. */
  readonly receipt: Receipt;
}

/**
 * The document as it is kept.
 *
 * @throws InvalidManifestError if the image is too large for one.
 */
export function formatPlan({ content, batches, ...plan }: PlanDocument): Uint8Array {
  const positions = new Map(content.blobs.map(({ digest }, position) => [digest, position]));
  // Each blob is in `content.blobs`, under the one size that all manifests give it; its media type may differ and is of no use here.
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
 * @throws StoreError if it is not what {@link formatPlan} writes, another pull's, or about another reference: the row of a pull may be written by more
 * functions than the plan is.
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
    throw new StoreError('read plan', `${key} is no plan: ${error.message}; pull again`, error, false);
  }
}

/** Blobs are said once, and meant by their positions. */
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

/** The Map of the state machine takes the list of batches from the state, which holds 256 KB, and each is some events of the 25,000 of an execution. */
export const MAX_BATCHES = 200;

/** An invocation is worth its start for this much; more go side by side. */
const BATCH_BYTES = 128 * 1024 * 1024;
/** What a blob costs beside its bytes: requests and rows, as if it were this much longer. */
const BLOB_OVERHEAD_BYTES = 1024 * 1024;

interface Batch {
  readonly blobs: Descriptor[];
  weight: number;
}

/**
 * The blobs in at most {@link MAX_BATCHES} batches: each blob in exactly one, no batch empty, and none heavier than the average by more than its lightest
 * blob. In each the largest blob comes first, so that it does not begin last.
 */
export function batchesOf(blobs: readonly Descriptor[], batchBytes = BATCH_BYTES): readonly (readonly Descriptor[])[] {
  const weigh = ({ size }: Descriptor): number => size + BLOB_OVERHEAD_BYTES;
  const total = blobs.reduce((sum, blob) => sum + weigh(blob), 0);
  const count = Math.min(MAX_BATCHES, blobs.length, Math.ceil(total / batchBytes));
  const batches = Array.from({ length: count }, (): Batch => ({ blobs: [], weight: 0 }));
  // Largest first, each to the batch that has least so far.
  for (const blob of [...blobs].sort((a, b) => b.size - a.size)) {
    const lightest = batches.reduce((least, batch) => (batch.weight < least.weight ? batch : least));
    lightest.blobs.push(blob);
    lightest.weight += weigh(blob);
  }
  return batches.map((batch) => batch.blobs);
}
