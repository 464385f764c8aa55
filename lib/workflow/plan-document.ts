import type { ForeignLayer, Pointer } from '../catalog/catalog.ts';
import { InvalidManifestError, StoreError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/lease.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { PlannedContent } from '../pull/plan.ts';
import type { KeptGround } from '../pull/publish.ts';
import type { Receipt } from '../pull/receipt.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import { JsonShapeError, jsonValue, type JsonValue } from '../fill/json.ts';
import { receiptFrom } from './receipt-document.ts';

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
  /** What was known of the reference under the lock. */
  readonly ground: KeptGround;
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
 * @throws StoreError if it is not what {@link formatPlan} writes, or another pull's.
 */
export function parsePlan(bytes: Uint8Array, key: string, id: string): PlanDocument {
  try {
    const plan = planFrom(jsonValue(JSON.parse(Buffer.from(bytes).toString('utf8')), 'plan'));
    if (plan.id !== id) throw new JsonShapeError('plan.id', `that of pull ${id}`);
    return plan;
  } catch (error) {
    if (!(error instanceof JsonShapeError || error instanceof SyntaxError)) throw error;
    throw new StoreError('read plan', `${key} is no plan: ${error.message}; pull again`, error, false);
  }
}

function planFrom(document: JsonValue): PlanDocument {
  if (document.get('version').count() !== VERSION) throw new JsonShapeError('plan.version', String(VERSION));
  const lock = document.get('lock');
  const ground = document.get('ground');
  const content = contentFrom(document.get('content'));
  return {
    id: document.get('id').text(),
    lock: {
      name: lock.get('name').text(),
      holder: lock.get('holder').text(),
      generation: lock.get('generation').count(),
    },
    domain: document.get('domain').text() as TrustDomain,
    content,
    batches: document.get('batches').list((batch) => batch.list((one) => blobAt(content.blobs, one))),
    ground: {
      pointer: optional(ground.get('pointer'), pointerFrom),
      checkedMs: ground.get('checkedMs').count(),
      epoch: ground.get('epoch').count(),
    },
    receipt: receiptFrom(document.get('receipt')),
  };
}

function contentFrom(document: JsonValue): PlannedContent {
  const blobs = document.get('blobs').list(descriptorFrom);
  const contents = document
    .get('contents')
    .list((one): [Digest, Descriptor[]] => [
      one.get('entry').digest(),
      one.get('blobs').list((position) => blobAt(blobs, position)),
    ]);
  return {
    root: descriptorFrom(document.get('root')),
    manifests: document.get('manifests').list(descriptorFrom),
    entries: document.get('entries').list(entryFrom),
    contents: new Map(contents),
    blobs,
    foreign: document
      .get('foreign')
      .list((one): ForeignLayer => ({ ...descriptorFrom(one), entry: one.get('entry').digest() })),
  };
}

function blobAt(blobs: readonly Descriptor[], position: JsonValue): Descriptor {
  const found = blobs[position.count()];
  if (found === undefined) throw new JsonShapeError(`position ${position.count()}`, `below ${blobs.length}`);
  return found;
}

const descriptorFrom = (document: JsonValue): Descriptor => ({
  mediaType: document.get('mediaType').text(),
  digest: document.get('digest').digest(),
  size: document.get('size').count(),
});

function entryFrom(document: JsonValue): IndexEntry {
  const platform = optional(document.get('platform'), platformFrom);
  const attests = optional(document.get('attests'), (one) => one.digest());
  return {
    ...descriptorFrom(document),
    ...(platform === undefined ? {} : { platform }),
    ...(attests === undefined ? {} : { attests }),
  };
}

function platformFrom(document: JsonValue): Platform {
  const variant = optional(document.get('variant'), (one) => one.text());
  return {
    os: document.get('os').text(),
    architecture: document.get('architecture').text(),
    ...(variant === undefined ? {} : { variant }),
  };
}

function pointerFrom(document: JsonValue): Pointer {
  const digestAt = (key: 'resolved' | 'published' | 'previous') =>
    document.get(key).isAbsent ? {} : { [key]: document.get(key).digest() };
  const countAt = (key: 'checkedMs' | 'resolutions' | 'publishedMs' | 'removedMs' | 'incarnation' | 'recorded') =>
    document.get(key).isAbsent ? {} : { [key]: document.get(key).count() };
  const resolvedBy = optional(document.get('resolvedBy'), (one) => one.text());
  return {
    generation: document.get('generation').count(),
    ...digestAt('resolved'),
    ...digestAt('published'),
    ...digestAt('previous'),
    ...countAt('checkedMs'),
    ...countAt('resolutions'),
    ...countAt('publishedMs'),
    ...countAt('removedMs'),
    ...countAt('incarnation'),
    ...countAt('recorded'),
    ...(resolvedBy === undefined ? {} : { resolvedBy }),
  };
}

const optional = <T>(value: JsonValue, read: (value: JsonValue) => T): T | undefined =>
  value.isAbsent ? undefined : read(value);
