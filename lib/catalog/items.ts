import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { CatalogError } from '../errors/cache-error.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import { algorithmOf, hexOf, type Algorithm, type Digest } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Checkpoint } from '../store/content-store.ts';
import type { BlobRow, ContentTally, ForeignLayer, Link, Pointer, Root } from './catalog.ts';
import { heldLease } from '../lock/dynamo-lease.ts';
import { contentIdOf } from './needs.ts';
import type { Item } from '../table/dynamo-table.ts';

/*
 * Rows to objects and back. We wrote the rows ourselves, so their fields are not checked.
 */

export function pointerFrom(item: Item): Pointer {
  return defined({
    resolved: item.resolved as Digest | undefined,
    checkedMs: item.checkedMs as number | undefined,
    resolutions: item.resolutions as number | undefined,
    resolvedBy: item.resolvedBy as string | undefined,
    published: item.published as Digest | undefined,
    publishedMs: item.publishedMs as number | undefined,
    publishedBy: item.publishedBy as string | undefined,
    previous: item.previous as Digest | undefined,
    missingMs: item.missingMs as number | undefined,
    removedMs: item.removedMs as number | undefined,
    incarnation: item.incarnation as number | undefined,
    generation: (item.generation as number | undefined) ?? 0,
    recorded: item.recorded as number | undefined,
  });
}

/** The remembered set; empty if content was lost since. */
export const completeFrom = (row: Item | undefined, epoch: number): ReadonlySet<Digest> =>
  digests(row !== undefined && (row.stamp as number) >= epoch ? row.complete : undefined);

/** The row ROOT, with the set of row COMPLETE if that is current at `epoch`. */
export function rootFrom(item: Item, remembered: Item | undefined, epoch: number): Root {
  return {
    digest: (item.pk as string).slice('ROOT#'.length) as Digest,
    mediaType: item.mediaType as string,
    size: item.size as number,
    entries: entriesFrom(item.entries as Uint8Array),
    complete: completeFrom(remembered, epoch),
    contents: contentsFrom(item.contents as ReadonlySet<Uint8Array> | undefined),
    foreign: [...((item.foreign as ReadonlySet<string> | undefined) ?? [])].map(
      (json) => JSON.parse(json) as ForeignLayer,
    ),
  };
}

/*
 * The entries of a root, as deflated JSON: as plain attributes, a thousand of them would take most of the 400
 * KB that a row may have. They never change, so they are only written as a whole.
 */
const MOST_ENTRIES_BYTES = 16 * 1024 * 1024;

export function entriesItem(entries: readonly IndexEntry[]): Uint8Array {
  const plain = entries.map(({ digest, mediaType, size, platform, attests, fault }) => ({
    digest,
    mediaType,
    size,
    platform,
    attests,
    fault,
  }));
  return deflateRawSync(JSON.stringify(plain));
}

const entriesFrom = (deflated: Uint8Array): IndexEntry[] =>
  JSON.parse(inflateRawSync(deflated, { maxOutputLength: MOST_ENTRIES_BYTES }).toString('utf8')) as IndexEntry[];

/*
 * The configs and layers of a root's complete entries, as one set that transactions add to. Each element is one entry:
 *
 *   child (9 bytes) ( blob (9 bytes) size (6 bytes, big endian) )*      where 9 bytes are the first of a digest
 *
 * The same entry always makes the same element. Each entry has an equal share of the row, so that the set is bounded however many pulls add to it. For an image with
 * more blobs than that, the receipt of a hit counts too few.
 */
const CONTENTS_BYTES = 180_000;
const ID_BYTES = 9;
const SIZE_BYTES = 6;

const shortened = (digest: Digest): Buffer => Buffer.from(hexOf(digest), 'hex').subarray(0, ID_BYTES);

export function contentsItem(contents: ReadonlyMap<Digest, readonly Descriptor[]>, entries: number): Set<Uint8Array> {
  const share = Math.floor((CONTENTS_BYTES / Math.max(entries, 1) - ID_BYTES) / (ID_BYTES + SIZE_BYTES));
  const elements = [...contents].map(([child, blobs]) => {
    const tallies = blobs.slice(0, Math.max(share, 1)).map((blob) => {
      const size = Buffer.alloc(SIZE_BYTES);
      size.writeUIntBE(blob.size, 0, SIZE_BYTES);
      return Buffer.concat([shortened(blob.digest), size]);
    });
    return Buffer.concat([shortened(child), ...tallies]);
  });
  return new Set(elements);
}

function contentsFrom(set: ReadonlySet<Uint8Array> | undefined): Root['contents'] {
  const byChild = new Map<string, ContentTally[]>();
  for (const bytes of set ?? []) {
    const element = Buffer.from(bytes);
    const tallies: ContentTally[] = [];
    for (let at = ID_BYTES; at < element.length; at += ID_BYTES + SIZE_BYTES) {
      const id = element.toString('base64url', at, at + ID_BYTES);
      tallies.push({ id, size: element.readUIntBE(at + ID_BYTES, SIZE_BYTES) });
    }
    const child = element.toString('base64url', 0, ID_BYTES);
    if (needsMore(child, tallies, byChild.get(child))) byChild.set(child, tallies);
  }
  return { get: (child: Digest) => byChild.get(contentIdOf(child)) };
}

/**
 * Two registries may give the same bytes under different types: as a blob, or as a manifest that needs more.
 * The element that needs more counts, so that nothing incomplete counts as complete (I2).
 */
const needsMore = (child: string, one: readonly ContentTally[], other: readonly ContentTally[] | undefined): boolean =>
  other === undefined || one.length > other.length || (one.length === other.length && other[0]?.id === child);

/**
 * Foreign layers as a set of JSON texts. Few images have any. Each entry has an equal share of the set, so
 * that it is bounded however many pulls add to it. For an image with very many, the receipt of a hit names
 * too few.
 */
const MOST_FOREIGN = 100;

export function foreignItem(foreign: readonly ForeignLayer[], entries: number): Set<string> {
  const share = Math.floor(MOST_FOREIGN / Math.max(entries, 1));
  const named = new Map<Digest, number>();
  const texts = new Set<string>();
  for (const { entry, digest, mediaType, size } of foreign) {
    const count = named.get(entry) ?? 0;
    if (count === share) continue;
    named.set(entry, count + 1);
    texts.add(JSON.stringify({ entry, digest, mediaType: mediaType.slice(0, 200), size }));
  }
  return texts;
}

export const linkFrom = (item: Item): Link =>
  defined({
    digest: item.sk as Digest,
    mediaType: item.mediaType as string,
    size: item.size as number,
    landed: item.landed as boolean | undefined,
    via: item.via as string | undefined,
    neededBy: item.neededBy as Digest | undefined,
  });

export function blobFrom(item: Item): BlobRow {
  return defined({
    digest: (item.pk as string).slice('BLOB#'.length) as Digest,
    state: item.state === 'present' ? ('present' as const) : ('absent' as const),
    size: item.size as number | undefined,
    etag: item.etag as string | undefined,
    crc32: item.crc32 as string | undefined,
    commit: item.commit as string | undefined,
    claim: heldLease(item),
    domains: (item.domains as ReadonlySet<TrustDomain> | undefined) ?? new Set<TrustDomain>(),
    checkpoint: item.checkpoint as Checkpoint | undefined,
  });
}

/*
 * What a manifest needs: its digests one after the other, each after a byte for its algorithm. A thousand
 * SHA-512 digests, the most that a manifest may name (limits.fanOut), take 65 KB of the 400 KB that a row may
 * have.
 */
const NEEDS: Readonly<Record<Algorithm, { readonly code: number; readonly bytes: number }>> = {
  sha256: { code: 1, bytes: 32 },
  sha512: { code: 2, bytes: 64 },
};
const ALGORITHMS = Object.keys(NEEDS) as Algorithm[];

export const needsItem = (needs: readonly Digest[]): Uint8Array =>
  Buffer.concat(
    needs.flatMap((digest) => [Buffer.of(NEEDS[algorithmOf(digest)].code), Buffer.from(hexOf(digest), 'hex')]),
  );

/** A row CHILD: the manifest, and what it needs. */
export function needsFrom(item: Item): [manifest: Digest, needs: readonly Digest[]] {
  const bytes = Buffer.from(item.needs as Uint8Array);
  const manifest = (item.pk as string).slice('CHILD#'.length) as Digest;
  const needs: Digest[] = [];
  for (let at = 0; at < bytes.length;) {
    const algorithm = ALGORITHMS.find((one) => NEEDS[one].code === bytes[at]);
    if (algorithm === undefined) throw unreadable(manifest);
    const end = at + 1 + NEEDS[algorithm].bytes;
    needs.push(`${algorithm}:${bytes.toString('hex', at + 1, end)}` as Digest);
    at = end;
  }
  return [manifest, needs];
}

const unreadable = (manifest: Digest): CatalogError =>
  new CatalogError(
    'read what manifests need',
    `the row of ${manifest} names an algorithm that this version does not know: a newer version wrote it; update this one`,
    undefined,
    false,
  );

/** A string set. DynamoDB has no empty sets: absent means empty. */
export const digests = (set: unknown): ReadonlySet<Digest> =>
  (set as ReadonlySet<Digest> | undefined) ?? new Set<Digest>();

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Drops undefined fields: under exactOptionalPropertyTypes, absent and undefined differ. */
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Defined<T>;
}
