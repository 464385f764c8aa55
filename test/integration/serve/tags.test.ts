import assert from 'node:assert/strict';
import { after, before, beforeEach, test, type TestContext } from 'node:test';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { when } from '../../support/upstream/upstream.ts';
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
/** The clock of all processes: what it says can be believed no more. */
function clockOf(context: TestContext): (ms: number) => void {
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  return (ms) => context.mock.timers.tick(ms);
}
beforeEach(() => {
  bench.upstream.requests.length = 0;
});

const listed = async (query = ''): Promise<{ name: string; tags: string[]; link?: string }> => {
  const { status, headers, body } = await bench.get(`${app}/tags/list${query}`);
  assert.deepEqual([status, headers['content-type']], [200, 'application/json']);
  const { name, tags } = JSON.parse(body.toString()) as { name: string; tags: string[] };
  return { name, tags, ...(headers.link === undefined ? {} : { link: headers.link as string }) };
};

test('the tags are those of the registry, pulled or not, in the order of their characters; it is asked once for all who ask', async (context) => {
  const pass = clockOf(context);
  const image = noiseImage({ name: 'nobody pulled' });
  bench.upstream.addImage('team/app', upstreamImage(image, 'a-new-one'));
  const all = [...TAGS, 'a-new-one'].sort();
  const process = await bench.another();
  const lists = await Promise.all(Array.from({ length: 20 }, () => process.get(`${app}/tags/list`)));
  for (const { status, body } of lists) {
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(body.toString()), { name: 'registry.example.test/team/app', tags: all });
  }
  assert.equal(bench.upstream.count({ kind: 'tags' }), 1);
  assert.equal((await process.head(`${app}/tags/list`)).status, 200);
  assert.equal(bench.upstream.count({ kind: 'tags' }), 1, 'believed for some seconds');
  pass(15_000);
  await process.get(`${app}/tags/list`);
  assert.equal(bench.upstream.count({ kind: 'tags' }), 2);
  bench.upstream.deleteManifest('team/app', 'a-new-one');
});

test('where the registry cannot say, the tags that the cache holds are listed, with a warning; its faults are not those of manifests', async () => {
  for (const fault of [
    { status: 401 },
    { status: 403 },
    { status: 429, headers: { 'retry-after': '100' } },
    { status: 500 },
    { status: 200, body: Buffer.from('<html>') },
    { reset: true },
  ]) {
    bench.upstream.fault(when({ kind: 'tags' }, fault));
    const process = await bench.another();
    const told = await process.get(`${app}/tags/list`);
    assert.equal(told.status, 200, JSON.stringify(fault));
    assert.match(String(told.headers.warning), /^111 entrepot "Revalidation Failed"$/);
    assert.deepEqual((JSON.parse(told.body.toString()) as { tags: string[] }).tags, TAGS);
    // Nobody pulled it: what the registry says is the answer, and never "there is none" (I6).
    const stranger = await process.get(app.replace('team/app', 'team/strange') + '/tags/list');
    assert.ok(stranger.status >= 400 && stranger.status !== 404, `${stranger.status} for ${JSON.stringify(fault)}`);
    assert.equal((await process.get(`${app}/manifests/latest`)).status, 200);
    bench.upstream.clearFaults();
  }
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
  assert.deepEqual((await listed('?n=99999999999')).tags, TAGS, 'cut, not refused');
  for (const n of ['-1', 'x', '1e3', '']) {
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

test('a repository that the registry does not know is unknown', async () => {
  assert.equal(refusalOf(await bench.get(app.replace('team/app', 'team/none') + '/tags/list')), '404 NAME_UNKNOWN');
});
