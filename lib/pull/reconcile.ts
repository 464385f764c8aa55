import type { BlobRecord, BlobRow } from '../catalog/catalog.ts';
import type { Blobs, BlobWrites } from '../catalog/ports.ts';
import { CatalogError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { s3ChecksumOf } from '../store/checksums.ts';
import type { ContentStore, StoredContent } from '../store/content-store.ts';
import { allOrFirstFailure, newPermits } from '../async/parallel.ts';

const PARALLEL_CHECKS = 16;
/** Tries for rows that others keep writing. */
const ROUNDS = 10;

export interface ReconcileDeps {
  readonly catalog: Blobs & BlobWrites;
  readonly store: Pick<ContentStore, 'find' | 'isContent'>;
}

export interface ReconcileOptions {
  /**
   * Records content that is in the store, but not present by its row. Without it the store is not asked about
   * such rows: they get a new commit, so that a writer that has asked the store before must ask again.
   */
  readonly adopt: boolean;
  /** Reads and verifies the bytes, whatever S3's checksums and the row say. */
  readonly bytes?: boolean;
  readonly signal: AbortSignal;
}

/** Content; its size is known if a manifest or a row states it. */
type Content = Pick<Descriptor, 'digest'> & Partial<Pick<Descriptor, 'size'>>;

/** The result of comparing a row with the store. */
type Verdict =
  | { readonly kind: 'right' }
  | { readonly kind: 'unrecorded'; readonly row: BlobRow }
  | { readonly kind: 'adopt'; readonly record: BlobRecord }
  | { readonly kind: 'lost'; readonly row: BlobRow; readonly reason: string };

/**
 * Makes the rows agree with the store. Content that is gone or wrong is recorded as lost. Content is right by
 * S3's own SHA-256 if there is one, else by its bytes: a size proves nothing. Rows are read before the store
 * is asked; if a row was written meanwhile, both are asked again.
 *
 * @returns the digests that the store does not hold, each with the reason.
 * @throws CatalogError, StoreError
 */
export async function reconcile(
  { catalog, store }: ReconcileDeps,
  contents: readonly Content[],
  { adopt, bytes = false, signal }: ReconcileOptions,
): Promise<ReadonlyMap<Digest, string>> {
  const missing = new Map<Digest, string>();
  const permits = newPermits(PARALLEL_CHECKS);
  let open = contents;
  for (let round = 1; open.length > 0; round++) {
    if (round > ROUNDS) throw tooBusy(open);
    const rows = await catalog.findBlobs(
      open.map(({ digest }) => digest),
      signal,
    );
    const verdicts = await allOrFirstFailure(open, signal, (content, stop) =>
      permits.run(async () => {
        const row = rows.get(content.digest);
        // A copier may be between its PUT and its row: with a new commit there it asks the store again.
        if (!adopt && row?.state !== 'present')
          return { kind: 'unrecorded' as const, row: row ?? absentRow(content.digest) };
        return await compare(store, content, row, bytes, stop);
      }),
    );
    const lost = verdicts.filter((one) => one.kind === 'lost' || one.kind === 'unrecorded');
    for (const one of lost) if (one.kind === 'lost') missing.set(one.row.digest, one.reason);
    const refused = new Set(
      await catalog.recordLoss(
        lost.map(({ row }) => row),
        signal,
      ),
    );
    const found = adopt ? verdicts.filter((one) => one.kind === 'adopt') : [];
    await allOrFirstFailure(found, signal, ({ record }, stop) =>
      permits.run(async () => {
        if (!(await catalog.recordBlob(record, stop))) refused.add(record.content.digest);
      }),
    );
    open = open.filter(({ digest }) => refused.has(digest));
    for (const { digest } of open) missing.delete(digest);
  }
  return missing;
}

async function compare(
  store: ReconcileDeps['store'],
  { digest, size }: Content,
  row: BlobRow | undefined,
  bytes: boolean,
  signal: AbortSignal,
): Promise<Verdict> {
  const lost = (reason: string): Verdict => ({ kind: 'lost', row: row ?? absentRow(digest), reason });
  const stored = await store.find(digest, signal);
  if (stored === undefined) return lost('the object is gone from the bucket');
  const expected = size ?? row?.size ?? stored.size;
  if (stored.size !== expected) return lost(`the object has ${stored.size} bytes instead of ${expected}`);
  const isRight = row?.state === 'present' && isRecorded(digest, row, stored);
  if (isRight && !bytes) return { kind: 'right' };
  const content = { digest, size: stored.size, mediaType: '' };
  // Without S3's own checksums, `isContent` reads the bytes.
  const known = bytes ? { size: stored.size, etag: stored.etag } : stored;
  if (!(await store.isContent(content, known, signal))) return lost('the bytes of the object are not its digest');
  if (isRight) return { kind: 'right' };
  // The object's metadata names the domain that brought it. Without that, only repositories that are linked
  // already may use it (I9).
  const domains = stored.domain === undefined ? [] : [stored.domain];
  return { kind: 'adopt', record: { content, stored, domains, commit: row?.commit } };
}

/** The object is the one that was recorded, and whose bytes were verified then. */
function isRecorded(digest: Digest, row: BlobRow, stored: StoredContent): boolean {
  const sha256 = s3ChecksumOf(digest) ?? stored.sha256;
  return (
    row.etag === stored.etag && row.crc32 === stored.crc32 && (stored.sha256 === undefined || stored.sha256 === sha256)
  );
}

/**
 * Whether the store agrees with the row of the digest; true if the row is not present. Writes nothing.
 * @throws CatalogError, StoreError
 */
export async function isAsRecorded(
  { catalog, store }: { readonly catalog: Blobs; readonly store: Pick<ContentStore, 'find'> },
  digest: Digest,
  signal: AbortSignal,
): Promise<boolean> {
  const row = (await catalog.findBlobs([digest], signal)).get(digest);
  if (row?.state !== 'present') return true;
  const stored = await store.find(digest, signal);
  if (stored === undefined) return false;
  return stored.size === (row.size ?? stored.size) && isRecorded(digest, row, stored);
}

const absentRow = (digest: Digest): BlobRow => ({ digest, state: 'absent', domains: new Set() });

const tooBusy = (open: readonly Content[]): CatalogError =>
  new CatalogError(
    'compare rows and store',
    `${open.length} rows were written by others ${ROUNDS} times in a row, ${open[0]?.digest ?? ''} among them; try again`,
  );
