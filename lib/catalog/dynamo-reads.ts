import { isDigest, type Digest } from '../oci/digest.ts';
import { isTag, type Reference, type Repository } from '../reference/reference.ts';
import type { BlobRow, CachedReference, FoundRoot, Link } from './catalog.ts';
import type { CatalogReads } from './ports.ts';
import { epochFrom, seeWhole } from './dynamo-completeness.ts';
import type { Item, Table } from '../table/dynamo-table.ts';
import { blobFrom, digests, linkFrom, pointerFrom, rootFrom } from './items.ts';
import {
  blobKey,
  completeKey,
  epochKey,
  linkKey,
  needKey,
  REPO_PARTITION,
  repoKey,
  repositoryOf,
  rootKey,
  rootLinkKey,
  tagKey,
  tagPartition,
} from '../table/keys.ts';
import { bareEntries } from './needs.ts';

/** Tags in one read. One manifest has fewer of its own (list of referrers, signature, attestation, SBOM). */
const MOST_WITH_PREFIX = 8;

/** All reads but those of what is complete. */
export function reads(table: Table): CatalogReads {
  const findRoot = async (
    repository: Repository,
    digest: Digest,
    consistent: boolean,
    signal: AbortSignal,
  ): Promise<FoundRoot> => {
    const keys = [rootKey(digest), completeKey(digest), rootLinkKey(repository, digest), epochKey(digest)];
    const rows = await table.getAll(keys, consistent, 'read a root', signal);
    const rowOf = (sk: string) => rows.find((row) => row.sk === sk);
    const root = rowOf('ROOT');
    const link = rowOf(rootLinkKey(repository, digest).sk);
    const epoch = epochFrom(rowOf('EPOCH'));
    const remembered = rowOf('COMPLETE');
    const stamp = remembered?.stamp as number | undefined;
    return {
      epoch,
      ...(stamp === undefined ? {} : { stamp }),
      ...(root === undefined ? {} : { root: rootFrom(root, remembered, epoch) }),
      ...(link === undefined ? {} : { linked: digests(link.complete) }),
      ...(link?.skipped === undefined ? {} : { skipped: digests(link.skipped) }),
    };
  };
  /** Adds, by their rows, entries that were complete before content was lost. */
  const withRows = async (found: FoundRoot, signal: AbortSignal): Promise<FoundRoot> => {
    const { root, linked } = found;
    const open = root === undefined ? [] : [...(linked ?? [])].filter((digest) => !root.complete.has(digest));
    if (root === undefined || open.length === 0) return found;
    const { whole } = await seeWhole(table, root.digest, open, bareEntries(root), signal);
    return { ...found, root: { ...root, complete: new Set([...root.complete, ...whole]) } };
  };
  async function* repositories(after: Repository | undefined, signal: AbortSignal): AsyncGenerator<Repository> {
    const name = after && repoKey(after).sk;
    for await (const row of table.query(REPO_PARTITION, 'list repositories', signal, name)) {
      yield repositoryOf(row.sk as string);
    }
  }
  async function* imagesOf(
    repository: Repository,
    after: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<CachedReference> {
    for await (const row of table.query(tagPartition(repository), 'list tags', signal, after)) {
      const pointer = pointerFrom(row);
      if (pointer.published === undefined) continue;
      const root = await withRows(await findRoot(repository, pointer.published, false, signal), signal);
      yield { reference: referenceTo(repository, row.sk as string), pointer, ...root };
    }
  }
  return {
    async find(reference, { consistent, signal }) {
      const row = await table.get(tagKey(reference), consistent, 'find a reference', signal);
      if (row === undefined) return {};
      const pointer = pointerFrom(row);
      if (pointer.published === undefined) return { pointer };
      return { pointer, ...(await findRoot(reference.repository, pointer.published, consistent, signal)) };
    },
    async findPointer(reference, { consistent, signal }) {
      const row = await table.get(tagKey(reference), consistent, 'find a reference', signal);
      return row === undefined ? undefined : pointerFrom(row);
    },
    async findContent(repository, digest, { consistent, signal }) {
      const keys = [linkKey(repository, digest), blobKey(digest)];
      const rows = await table.getAll(keys, consistent, 'find content', signal);
      const blob = rows.find((row) => row.sk === 'BLOB');
      const link = rows.find((row) => row.sk !== 'BLOB');
      return {
        ...(link === undefined ? {} : { link: linkFrom(link) }),
        ...(blob === undefined ? {} : { blob: blobFrom(blob) }),
      };
    },
    async *tagsOf(repository, after, signal) {
      for await (const row of table.query(tagPartition(repository), 'list tags', signal, after)) {
        const name = row.sk as string;
        const { resolved, published } = pointerFrom(row);
        if (isTag(name) && (published ?? resolved) !== undefined) yield name;
      }
    },
    async findTagsWith(repository, prefix, signal) {
      // DynamoDB does not accept an empty string as a key.
      const from = { after: prefix.slice(0, -1) || undefined, pageSize: MOST_WITH_PREFIX };
      for await (const page of table.pages(tagPartition(repository), 'find tags', signal, from)) {
        return page.filter(({ sk }) => String(sk).startsWith(prefix)).map(pointerFrom);
      }
      return [];
    },
    findRoot: (repository, digest, signal) => findRoot(repository, digest, true, signal),
    async findLinks(repository, wanted, signal) {
      const keys = wanted.map((digest) => linkKey(repository, digest));
      return linksOf(await table.getAll(keys, true, 'find links', signal));
    },
    async findBlobs(wanted, signal) {
      return blobsOf(await table.getAll(wanted.map(blobKey), true, 'find blobs', signal));
    },
    async findContents(repository, wanted, signal) {
      const keys = wanted.flatMap((digest) => [linkKey(repository, digest), blobKey(digest)]);
      const rows = await table.getAll(keys, true, 'find content', signal);
      return {
        links: linksOf(rows.filter(({ sk }) => sk !== 'BLOB')),
        blobs: blobsOf(rows.filter(({ sk }) => sk === 'BLOB')),
      };
    },
    async findNeededBy(repository, digest, signal) {
      const keys = [linkKey(repository, digest), needKey(repository, digest)];
      const rows = await table.getAll(keys, true, 'find what needs content', signal);
      const needers = rows.map((row) => row.neededBy as Digest | undefined).filter((needer) => needer !== undefined);
      return [...new Set(needers)];
    },
    repositories,
    imagesOf,
  };
}

const linksOf = (rows: readonly Item[]): ReadonlyMap<Digest, Link> =>
  new Map(rows.map(linkFrom).map((link) => [link.digest, link]));
const blobsOf = (rows: readonly Item[]): ReadonlyMap<Digest, BlobRow> =>
  new Map(rows.map(blobFrom).map((blob) => [blob.digest, blob]));

function referenceTo(repository: Repository, pointer: string): Reference {
  const digest = pointer.slice(1);
  return pointer.startsWith('@') && isDigest(digest) ? { repository, digest } : { repository, tag: pointer };
}
