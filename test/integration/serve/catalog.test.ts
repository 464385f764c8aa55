import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { removeTag } from '../../../lib/images/remove-tag.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { refusalOf, startServeBench, type ServeBench } from './serve-bench.ts';

/** In the order in which they are listed. */
const CACHED = ['docker.io/library/tool', 'registry.example.test/team/a', 'registry.example.test/team/b'];

let bench: ServeBench;
before(async () => {
  bench = await startServeBench({ registry: { allow: ['team/**'] } });
  const image = noiseImage({ name: 'listed' });
  await bench.warm(image, 'team/b');
  await bench.warm(image, 'team/a', 'v2');
  bench.upstream.addImage('library/tool', upstreamImage(image, 'v1'));
  await bench.cache.pull(`docker.io/library/tool@${image.root.digest}`);
  // Asked for and not there; pulled and removed again: the cache holds nothing of them.
  assert.equal((await bench.get('/v2/registry.example.test/team/none/manifests/v1')).status, 404);
  await bench.warm(image, 'team/gone');
  await removeTag(bench.services.pull, parseReference('registry.example.test/team/gone:v1'), forever);
  bench.upstream.requests.length = 0;
});
after(() => bench[Symbol.asyncDispose]());

async function listed(path: string): Promise<{ names: string[]; link: string | undefined }> {
  const { status, headers, body } = await bench.get(path);
  assert.deepEqual([status, headers['content-type']], [200, 'application/json'], body.toString());
  const { repositories } = JSON.parse(body.toString()) as { repositories: string[] };
  return { names: repositories, link: headers.link as string | undefined };
}

test('what the cache holds is listed, by names under which it is served; no registry is asked', async () => {
  assert.deepEqual(await listed('/v2/_catalog'), { names: CACHED, link: undefined });
  for (const name of CACHED) assert.equal((await bench.get(`/v2/${name}/tags/list`)).status, 200, name);
  assert.equal(bench.upstream.count({ kind: 'manifest' }), 0);
  assert.equal((await bench.head('/v2/_catalog')).status, 200);
});

test('"ns" leaves one registry, whose names it is not part of', async () => {
  const { names } = await listed('/v2/_catalog?ns=registry.example.test');
  assert.deepEqual(names, ['team/a', 'team/b']);
  assert.deepEqual((await listed('/v2/_catalog?ns=registry.example.test&last=team/a')).names, ['team/b']);
  assert.equal(refusalOf(await bench.get('/v2/_catalog?ns=nobody.example.test')), '404 NAME_UNKNOWN');
});

test('pages of any size miss nothing and repeat nothing; what "last" names need not be there', async () => {
  for (const n of [1, 2, 3, 100_000]) {
    const all: string[] = [];
    let pages = 0;
    for (let path: string | undefined = `/v2/_catalog?n=${n}`; path !== undefined; pages++) {
      const page = await listed(path);
      all.push(...page.names);
      path = page.link && /^<([^>]*)>; rel="next"$/.exec(page.link)?.[1];
      assert.ok(pages < 5);
    }
    assert.deepEqual(all, CACHED);
    assert.equal(pages, Math.ceil(CACHED.length / n));
  }
  assert.deepEqual((await listed('/v2/_catalog?last=registry.example.test')).names, CACHED.slice(1));
  assert.deepEqual((await listed('/v2/_catalog?last=registry.example.test/team/aa')).names, CACHED.slice(2));
  assert.deepEqual((await listed('/v2/_catalog?last=zz')).names, []);
  assert.deepEqual((await listed('/v2/_catalog?n=0')).names, []);
  for (const n of ['-1', 'x', '1.5']) {
    assert.equal(refusalOf(await bench.get(`/v2/_catalog?n=${n}`)), '400 UNSUPPORTED', n);
  }
});
