import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CachedReference } from '../../../lib/catalog/catalog.ts';
import type { Images } from '../../../lib/catalog/ports.ts';
import { imagePage, type ImagePageRequest } from '../../../lib/images/images.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import {
  formatReference,
  formatRepository,
  parseReference,
  type Repository,
} from '../../../lib/reference/reference.ts';

const forever = new AbortController().signal;
const digestOf = (n: number) => `sha256:${n.toString(16).padStart(64, '0')}` as Digest;

/** A list in memory: the tags of each repository, and how many platforms each image has. Keeps whose tags were read. */
function listOf(tags: Readonly<Record<string, readonly string[]>>, platforms = 1) {
  const read: string[] = [];
  const entries = Array.from({ length: platforms }, (_, n) => ({
    digest: digestOf(n + 1),
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    size: 1,
    platform: { os: 'linux', architecture: `cpu${n}` },
  }));
  const root = {
    ...{ digest: digestOf(0), mediaType: 'application/vnd.oci.image.index.v1+json', size: 1 },
    ...{ entries, complete: new Set<Digest>(), contents: new Map<Digest, never>(), foreign: [] },
  };
  const catalog: Images = {
    // eslint-disable-next-line @typescript-eslint/require-await -- the interface is asynchronous, the list is here
    async *repositories(after) {
      for (const name of Object.keys(tags).sort()) {
        if (after === undefined || name > formatRepository(after)) yield parseReference(name).repository;
      }
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- the same
    async *imagesOf(repository: Repository, after): AsyncGenerator<CachedReference> {
      read.push(formatRepository(repository));
      for (const tag of tags[formatRepository(repository)] ?? []) {
        if (after !== undefined && tag <= after) continue;
        yield { reference: { repository, tag }, pointer: { published: root.digest, generation: 1 }, root };
      }
    },
  };
  return { catalog, read };
}

const all: ImagePageRequest = { limit: 100, mayList: () => true };

describe('a page of images', () => {
  test('ends early where an answer would become too large, and goes on there', async () => {
    const tags = Array.from({ length: 20 }, (_, n) => `t${String(n).padStart(2, '0')}`);
    const { catalog } = listOf({ 'r.test/a': tags }, 1_000);
    const listed: string[] = [];
    let after: ImagePageRequest['after'];
    let pages = 0;
    do {
      const page = await imagePage(catalog, { ...all, after }, forever);
      assert.ok(page.images.length > 0);
      assert.ok(JSON.stringify(page.images).length < 1.1 * 1024 * 1024);
      listed.push(...page.images.map(({ reference }) => reference));
      after = page.next;
      pages++;
    } while (after !== undefined);
    assert.deepEqual(
      listed,
      tags.map((tag) => `r.test/a:${tag}`),
    );
    assert.ok(pages > 1 && pages < 10, `${pages} pages`);
  });

  test('reads nothing of a repository that may not be listed', async () => {
    const { catalog, read } = listOf({ 'r.test/a': ['1'], 'r.test/b': ['1'], 'r.test/c': ['1'] });
    const mayList = (repository: Repository): boolean => repository.path !== 'b';
    const { images, next } = await imagePage(catalog, { limit: 1, mayList }, forever);
    assert.deepEqual(
      images.map(({ reference }) => reference),
      ['r.test/a:1'],
    );
    assert.equal(next?.repository.path, 'a', 'what follows is not named');
    const second = await imagePage(catalog, { limit: 1, mayList, after: next }, forever);
    assert.deepEqual(
      second.images.map(({ reference }) => reference),
      ['r.test/c:1'],
    );
    assert.equal(second.next, undefined);
    assert.ok(!read.includes('r.test/b'));
  });

  test('passes repositories that have lost all their tags', async () => {
    const { catalog } = listOf({ 'r.test/a': [], 'r.test/b': [], 'r.test/c': ['1', '2'] });
    const { images, next } = await imagePage(catalog, { ...all, limit: 2 }, forever);
    assert.equal(images.length, 2);
    assert.equal(next, undefined);
  });

  test('goes on although the image it ended with is gone', async () => {
    const { catalog } = listOf({ 'r.test/a': ['1', '3'], 'r.test/b': ['1'] });
    const after = { repository: parseReference('r.test/a').repository, pointer: '2' };
    const { images } = await imagePage(catalog, { ...all, after }, forever);
    assert.deepEqual(
      images.map(({ reference }) => formatReference(parseReference(reference))),
      ['r.test/a:3', 'r.test/b:1'],
    );
  });
});
