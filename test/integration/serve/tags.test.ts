import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { multiArchImage, noiseImage } from '../../support/images.ts';
import { refusalOf, startServeBench, type ServeBench } from './serve-bench.ts';

const TAGS = ['1.0', '1.1', '2.0', 'V1', '_x', 'latest'];

let bench: ServeBench;
let app: string;

before(async () => {
  bench = await startServeBench();
  const image = noiseImage({ name: 'tags' });
  for (const tag of ['latest', '1.0', 'V1', '_x', '2.0', '1.1']) app = await bench.warm(image, 'team/app', tag);
  // A pull by digest has a pointer beside the tags, and a list of referrers a row: neither is a tag.
  await bench.get(`${app}/manifests/${image.root.digest}`);
  await bench.get(`${app}/referrers/${image.root.digest}`);
  await bench.settled();
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.requests.length = 0;
});

const listed = async (query = ''): Promise<{ name: string; tags: string[]; link?: string }> => {
  const { status, headers, body } = await bench.get(`${app}/tags/list${query}`);
  assert.deepEqual([status, headers['content-type']], [200, 'application/json']);
  const { name, tags } = JSON.parse(body.toString()) as { name: string; tags: string[] };
  return { name, tags, ...(headers.link === undefined ? {} : { link: headers.link as string }) };
};

test('all tags that the cache holds, in the order of their characters; the registry is not asked', async () => {
  assert.deepEqual(await listed(), { name: 'registry.example.test/team/app', tags: TAGS });
  assert.equal(bench.upstream.requests.length, 0);
  assert.equal((await bench.head(`${app}/tags/list`)).status, 200);
});

test('page by page: "Link" leads through all of them, once each, and then there is none', async () => {
  for (const n of [1, 2, 3, 5]) {
    const seen: string[] = [];
    let pages = 0;
    for (let query: string | undefined = `?n=${n}`; query !== undefined; pages++) {
      const { tags, link } = await listed(query);
      assert.ok(tags.length <= n);
      seen.push(...tags);
      const [, next] = /^<([^>]+)>; rel="next"$/.exec(link ?? '') ?? [];
      assert.equal(next === undefined, link === undefined);
      if (next !== undefined) assert.ok(next.startsWith(`${app}/tags/list?`));
      query = next?.slice(next.indexOf('?'));
    }
    assert.deepEqual(seen, TAGS);
    assert.equal(pages, Math.ceil(TAGS.length / n));
  }
});

test('"last" need not be a tag that is there; "n" may be none, or more than there are', async () => {
  assert.deepEqual((await listed('?last=1.05')).tags, TAGS.slice(1));
  assert.deepEqual((await listed('?last=zzz')).tags, []);
  assert.deepEqual((await listed('?last=')).tags, TAGS);
  assert.deepEqual(await listed('?n=0'), { name: 'registry.example.test/team/app', tags: [] });
  assert.deepEqual((await listed('?n=6')).link, undefined);
  assert.deepEqual((await listed('?n=100000')).tags, TAGS);
  assert.deepEqual((await listed('?n=2&last=1.1')).tags, ['2.0', 'V1']);
});

test('what is no number, or longer than any tag, is refused or leads nowhere, and is no fault of ours', async () => {
  for (const n of ['-1', 'x', '1e3', '', '99999999999']) {
    assert.equal(refusalOf(await bench.get(`${app}/tags/list?n=${n}`)), '400 UNSUPPORTED', n);
  }
  for (const last of ['a'.repeat(2_000), '%00', '%F0%9F%90%B3', encodeURIComponent('x\r\ny: z')]) {
    const told = await bench.get(`${app}/tags/list?last=${last}`);
    assert.ok(told.status === 200 || told.status === 400, `${told.status} for ${last.slice(0, 20)}`);
  }
});

test('the name, and "Link", keep to how the client asked', async () => {
  const { headers, body } = await bench.get('/v2/team/app/tags/list?ns=registry.example.test&n=2');
  assert.equal((JSON.parse(body.toString()) as { name: string }).name, 'team/app');
  assert.equal(headers.link, '</v2/team/app/tags/list?ns=registry.example.test&n=2&last=1.1>; rel="next"');
});

test('a tag that clients asked for is listed as soon as it means something, one that is not there never', async () => {
  const base = bench.offer(multiArchImage({ name: 'asked' }), 'team/asked');
  assert.equal(refusalOf(await bench.get(`${base}/tags/list`)), '404 NAME_UNKNOWN');
  assert.equal((await bench.get(`${base}/manifests/v2`)).status, 404);
  assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
  const { body } = await bench.get(`${base}/tags/list`);
  assert.deepEqual((JSON.parse(body.toString()) as { tags: string[] }).tags, ['v1']);
});
