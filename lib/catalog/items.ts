import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import { hexOf, type Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Checkpoint } from '../store/content-store.ts';
import type { BlobRow, ContentTally, Link, Pointer, Root, Use } from './catalog.ts';
import type { Item } from './dynamo-table.ts';

/*
 * Rows to objects and back. Rows were written by us, so they are read without checks beyond their types; what an older
 * version left out is undefined.
 */

export function pointerFrom(item: Item): Pointer {
  return defined({
    resolved: item['resolved'] as Digest | undefined,
    checkedMs: item['checkedMs'] as number | undefined,
    published: item['published'] as Digest | undefined,
    publishedMs: item['publishedMs'] as number | undefined,
    previous: item['previous'] as Digest | undefined,
    generation: (item['generation'] as number | undefined) ?? 0,
  });
}

export function rootFrom(item: Item): Root {
  return {
    digest: (item['pk'] as string).slice('ROOT#'.length) as Digest,
    mediaType: item['mediaType'] as string,
    size: item['size'] as number,
    entries: item['entries'] as EntryItem[],
    complete: digests(item['complete']),
    contents: contentsFrom(item['contents'] as ReadonlySet<string> | undefined),
  };
}

interface EntryItem {
  digest: Digest;
  mediaType: string;
  size: number;
  platform?: Platform;
  attests?: Digest;
}

export const entryItem = ({ digest, mediaType, size, platform, attests }: IndexEntry): EntryItem => ({
  digest,
  mediaType,
  size,
  ...(platform === undefined ? {} : { platform }),
  ...(attests === undefined ? {} : { attests }),
});

/*
 * The configs and layers of a root's entries, as one string set that transactions add to: "<child>.<blob>.<size>", digests shortened to
 * 9 bytes and numbers to base 36. Bounded, because a row holds 400 KB: roots with more blobs count fewer in the receipt of a hit.
 */
const MOST_CONTENTS = 4_000;

const shortened = (digest: Digest): string => Buffer.from(hexOf(digest), 'hex').subarray(0, 9).toString('base64url');

export function contentsItem(contents: ReadonlyMap<Digest, readonly Descriptor[]>): Set<string> {
  const all = [...contents].flatMap(([child, blobs]) =>
    blobs.map((blob) => `${shortened(child)}.${shortened(blob.digest)}.${blob.size.toString(36)}`),
  );
  return new Set(all.slice(0, MOST_CONTENTS));
}

function contentsFrom(set: ReadonlySet<string> | undefined): Root['contents'] {
  const byShortChild = new Map<string, ContentTally[]>();
  for (const text of set ?? []) {
    const [child = '', id = '', size = ''] = text.split('.');
    const tallies = byShortChild.get(child) ?? [];
    tallies.push({ id, size: Number.parseInt(size, 36) });
    byShortChild.set(child, tallies);
  }
  return { get: (child: Digest) => byShortChild.get(shortened(child)) };
}

export const linkFrom = (item: Item): Link => ({
  digest: item['sk'] as Digest,
  mediaType: item['mediaType'] as string,
  size: item['size'] as number,
});

export function blobFrom(item: Item): BlobRow {
  return defined({
    digest: (item['pk'] as string).slice('BLOB#'.length) as Digest,
    state: item['state'] === 'present' ? ('present' as const) : ('absent' as const),
    size: item['size'] as number | undefined,
    etag: item['etag'] as string | undefined,
    crc32: item['crc32'] as string | undefined,
    domains: (item['domains'] as ReadonlySet<TrustDomain> | undefined) ?? new Set<TrustDomain>(),
    distrustedEtag: item['distrustedEtag'] as string | undefined,
    checkpoint: item['checkpoint'] as Checkpoint | undefined,
  });
}

export function useFrom(item: Item): Use {
  const [root = '', child = ''] = (item['sk'] as string).split('#');
  return {
    digest: (item['pk'] as string).slice('USE#'.length) as Digest,
    root: root as Digest,
    child: child as Digest,
  };
}

/** A string set, which DynamoDB has only while it is not empty. */
export const digests = (set: unknown): ReadonlySet<Digest> =>
  (set as ReadonlySet<Digest> | undefined) ?? new Set<Digest>();

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Leaves out what is undefined: under exactOptionalPropertyTypes absent and undefined differ. */
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Defined<T>;
}
