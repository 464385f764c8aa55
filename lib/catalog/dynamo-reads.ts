import { isDigest, type Digest } from '../oci/digest.ts';
import { isTag, type Reference, type Repository } from '../reference/reference.ts';
import type { CachedReference, Catalog, Found, Use } from './catalog.ts';
import type { Table } from './dynamo-table.ts';
import { blobFrom, digests, linkFrom, pointerFrom, rootFrom, useFrom } from './items.ts';
import {
  blobKey,
  linkKey,
  needKey,
  REPO_PARTITION,
  repoKey,
  repositoryOf,
  rootKey,
  rootLinkKey,
  SWEEP_KEY,
  tagKey,
  tagPartition,
  usePartition,
} from './keys.ts';

/** Everything that looks and changes nothing. */
export function reads(table: Table) {
  const findRoot = async (
    repository: Repository,
    digest: Digest,
    consistent: boolean,
    signal: AbortSignal,
  ): Promise<Pick<Found, 'root' | 'linked'>> => {
    const keys = [rootKey(digest), rootLinkKey(repository, digest)];
    const rows = await table.getAll(keys, consistent, 'read a root', signal);
    const root = rows.find((row) => row.sk === 'ROOT');
    const link = rows.find((row) => row.sk !== 'ROOT');
    return {
      ...(root === undefined ? {} : { root: rootFrom(root) }),
      ...(link === undefined ? {} : { linked: digests(link.complete) }),
    };
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
      const root = await findRoot(repository, pointer.published, false, signal);
      yield { reference: referenceTo(repository, row.sk as string), pointer, ...root };
    }
  }
  async function* usesOf(
    digest: Digest,
    { pageSize, signal }: { pageSize?: number; signal: AbortSignal },
  ): AsyncGenerator<readonly Use[]> {
    const pages = table.pages(usePartition(digest), 'find uses', signal, { pageSize });
    for await (const page of pages) yield page.map(useFrom);
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
    findRoot: (repository, digest, signal) => findRoot(repository, digest, true, signal),
    async findLinks(repository, wanted, signal) {
      const keys = wanted.map((digest) => linkKey(repository, digest));
      const rows = await table.getAll(keys, true, 'find links', signal);
      return new Map(rows.map(linkFrom).map((link) => [link.digest, link]));
    },
    async findBlobs(wanted, signal) {
      const rows = await table.getAll(wanted.map(blobKey), true, 'find blobs', signal);
      return new Map(rows.map(blobFrom).map((blob) => [blob.digest, blob]));
    },
    async readEpoch(signal) {
      const row = await table.get(SWEEP_KEY, true, 'read the sweep epoch', signal);
      return (row?.epoch as number | undefined) ?? 0;
    },
    async findNeededBy(repository, digest, signal) {
      const keys = [linkKey(repository, digest), needKey(repository, digest)];
      const rows = await table.getAll(keys, true, 'find what needs content', signal);
      const needers = rows.map((row) => row.neededBy as Digest | undefined).filter((needer) => needer !== undefined);
      return [...new Set(needers)];
    },
    usesOf,
    async findUses(digest, signal) {
      return (await Array.fromAsync(usesOf(digest, { signal }))).flat();
    },
    async *images(signal) {
      for await (const repository of repositories(undefined, signal)) yield* imagesOf(repository, undefined, signal);
    },
    repositories,
    imagesOf,
  } satisfies Partial<Catalog>;
}

function referenceTo(repository: Repository, pointer: string): Reference {
  const digest = pointer.slice(1);
  return pointer.startsWith('@') && isDigest(digest) ? { repository, digest } : { repository, tag: pointer };
}
