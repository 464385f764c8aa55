import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import type { RegistryAnswer } from '../../../lib/http/registry/open-registry.ts';
import { noiseImage } from '../../support/images.ts';
import { doorOf } from './transport-under-test.ts';
import { startServeBench, type ServeBench } from './serve-bench.ts';

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const COSIGN = 'application/vnd.dev.cosign.artifact.sig.v1+json';
const TTL_SECONDS = 1;
const REFERRERS = 60;
/** Some ten of them. */
const BODY_BYTES = 2_500;

type Ask = ReturnType<typeof doorOf>;

let bench: ServeBench;
let list: string;
let subject: string;

const shaOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
/** Every third is a signature. */
const referrers = Array.from({ length: REFERRERS }, (_, i) => ({
  mediaType: OCI_MANIFEST,
  digest: shaOf(`referrer ${i}`),
  size: i,
  artifactType: i % 3 === 0 ? COSIGN : `application/${'x'.repeat(i)}`,
}));
const digests = (all: readonly { digest: string }[] = referrers): string[] => all.map(({ digest }) => digest).sort();

before(async () => {
  bench = await startServeBench({ serve: { referrersTtlSeconds: TTL_SECONDS } });
  const image = noiseImage({ name: 'paged' });
  subject = image.root.digest;
  list = `${await bench.warm(image, 'team/app')}/referrers/${subject}`;
  bench.upstream.putReferrers('team/app', subject, referrers);
});
after(() => bench[Symbol.asyncDispose]());

const listedIn = ({ body }: RegistryAnswer): string[] => {
  const { manifests } = JSON.parse(Buffer.from(body!).toString()) as { manifests: { digest: string }[] };
  return manifests.map(({ digest }) => digest);
};
const nextOf = ({ headers }: RegistryAnswer): string | undefined =>
  /^<([^<>]+)>; rel="next"$/.exec(headers.link ?? '')?.[1];

/** Every page, from the first one on; `between` is called before each following one. */
async function pages(
  ask: Ask,
  from: string,
  between: () => void | Promise<void> = () => undefined,
): Promise<RegistryAnswer[]> {
  const all: RegistryAnswer[] = [];
  for (let next: string | undefined = from; next !== undefined; next = nextOf(all.at(-1)!)) {
    assert.ok(all.length < REFERRERS, 'an end');
    if (all.length > 0) await between();
    const answer = await ask('GET', next);
    assert.equal(answer.status, 200, Buffer.from(answer.body ?? []).toString());
    assert.equal(answer.headers.link === undefined, nextOf(answer) === undefined);
    all.push(answer);
  }
  return all;
}

describe('a list of referrers that is larger than its door', { concurrency: false }, () => {
  test('comes in pages that the door carries, each referrer once, in order', async () => {
    const all = await pages(doorOf(bench, { bodyBytes: BODY_BYTES }), list);
    assert.deepEqual(all.flatMap(listedIn), digests());
    assert.ok(all.length > 4, `${all.length} pages`);
    for (const { body } of all) assert.ok(body!.byteLength <= BODY_BYTES, `${body!.byteLength} bytes`);
    for (const page of all.slice(0, -1)) {
      assert.equal(nextOf(page), `${list}?last=${encodeURIComponent(listedIn(page).at(-1)!)}`);
    }
  });

  test('is full of what fits, whatever the size: one byte less is one referrer less', async () => {
    const [whole] = await pages(doorOf(bench, {}), list);
    const bytes = whole!.body!.byteLength;
    assert.equal((await pages(doorOf(bench, { bodyBytes: bytes }), list)).length, 1);
    const two = await pages(doorOf(bench, { bodyBytes: bytes - 1 }), list);
    assert.deepEqual(
      two.map((page) => listedIn(page).length),
      [REFERRERS - 1, 1],
    );
    const single = await pages(doorOf(bench, { bodyBytes: 1 }), list);
    assert.deepEqual(
      single.map((page) => listedIn(page).length),
      Array.from({ length: REFERRERS }, () => 1),
    );
  });

  test('is filtered on every page, which says so', async () => {
    const wanted = `${list}?artifactType=${encodeURIComponent(COSIGN)}`;
    const all = await pages(doorOf(bench, { bodyBytes: BODY_BYTES }), wanted);
    assert.deepEqual(all.flatMap(listedIn), digests(referrers.filter(({ artifactType }) => artifactType === COSIGN)));
    assert.ok(all.length > 1);
    for (const { headers } of all) assert.equal(headers['oci-filters-applied'], 'artifactType');
    assert.ok(nextOf(all[0]!)?.startsWith(`${wanted}&last=sha256%3A`));
  });

  test('leads on to the same registry, and to nothing that the client made up', async () => {
    const asMirror = list.replace('registry.example.test/', '');
    const door = doorOf(bench, { bodyBytes: BODY_BYTES });
    const all = await pages(door, `${asMirror}?ns=registry.example.test&x=%0d%0ay&artifactType=`);
    assert.deepEqual(all.flatMap(listedIn), []);
    const mirrored = await pages(door, `${asMirror}?x=%0d%0ay&ns=registry.example.test`);
    assert.deepEqual(mirrored.flatMap(listedIn), digests());
    assert.ok(nextOf(mirrored[0]!)?.startsWith(`${asMirror}?ns=registry.example.test&last=`));
  });

  test('HEAD has the same length, and the same Link', async () => {
    const door = doorOf(bench, { bodyBytes: BODY_BYTES });
    const [get, head] = [await door('GET', list), await door('HEAD', list)];
    assert.deepEqual([head.headers, head.body?.byteLength], [get.headers, get.body?.byteLength]);
  });

  test('that changes between two pages: what stays in it is listed once, whatever the last one was', async () => {
    const [first] = await pages(doorOf(bench, { bodyBytes: BODY_BYTES }), list);
    const last = listedIn(first!).at(-1)!;
    const later = { ...referrers[0]!, digest: `sha256:${'f'.repeat(64)}` };
    const without = [...referrers.filter(({ digest }) => digest !== last), later];
    let calls = 0;
    const all = await pages(doorOf(bench, { bodyBytes: BODY_BYTES }), list, async () => {
      if (calls++ > 0) return;
      bench.upstream.putReferrers('team/app', subject, without);
      await sleep(TTL_SECONDS * 1_000);
    });
    assert.deepEqual(all.flatMap(listedIn), [...digests(), later.digest]);
    for (const odd of ['', 'x', `sha256:${'0'.repeat(64)}`, '%00', 'z'.repeat(3_000)]) {
      const answer = await doorOf(bench, {})('GET', `${list}?last=${odd}`);
      assert.equal(answer.status, 200, odd);
      const expected = digests(without).filter((digest) => digest > decodeURIComponent(odd));
      assert.deepEqual(listedIn(answer), expected, odd);
    }
  });
});
