import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { RegistryAnswer } from '../../../lib/http/registry/open-registry.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import { answerFetch, remoteFetcher } from '../../../lib/serve/fetch-document.ts';
import { upstreamFetcher } from '../../../lib/serve/upstream-fetcher.ts';
import { openCache } from '../../support/cache.ts';
import { startFaultProxy } from '../../support/http-fault-proxy.ts';
import { noiseImage } from '../../support/images.ts';
import { rowsOf } from '../../support/table-rows.ts';
import { operationsOf } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { when } from '../../support/upstream/upstream.ts';
import { doorOf, type DoorOptions, quietCall } from './transport-under-test.ts';
import { REGISTRY, startServeBench, type ServeBench } from './serve-bench.ts';

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
/** Questions about manifests that nobody pulled, at the same time. */
const MOST_QUESTIONS = 8;

type Ask = ReturnType<typeof doorOf>;

let bench: ServeBench;
let app: string;
const image = noiseImage({ name: 'known' });

before(async () => {
  bench = await startServeBench({ serve: { referrersTtlSeconds: 3_600 } });
  app = await bench.warm(image, 'team/app');
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.clearFaults();
  bench.upstream.requests.length = 0;
});

const madeUp = (name: string): Digest => `sha256:${createHash('sha256').update(name).digest('hex')}` as Digest;
const referrer = (name: string) => ({ mediaType: OCI_MANIFEST, digest: madeUp(name), size: 7 });
const asking = (ask: Ask, digest: Digest): Promise<RegistryAnswer> => ask('GET', `${app}/referrers/${digest}`);
const questions = (digest: Digest): number => bench.upstream.count({ kind: 'referrers', reference: digest });

function listed({ status, body }: RegistryAnswer): string[] {
  const text = Buffer.from(body ?? []).toString();
  assert.equal(status, 200, text);
  return (JSON.parse(text) as { manifests: { digest: string }[] }).manifests.map(({ digest }) => digest);
}

/** All that is kept: rows of the table, objects of the bucket. */
async function kept(): Promise<{ rows: string[]; objects: number }> {
  const { KeyCount = 0 } = await bench.s3.send(new ListObjectsV2Command({ Bucket: bench.stack.bucket }));
  return { rows: await rowsOf(bench.stack), objects: KeyCount };
}

/** The function that holds the credentials, as JSON; and what this process would ask by itself. */
function fetchers(): [string, Pick<DoorOptions, 'fetcher'>][] {
  const { pull } = bench.services;
  const inProcess = upstreamFetcher(pull);
  const elsewhere = remoteFetcher(async (question) => {
    const heard: unknown = JSON.parse(JSON.stringify(question));
    return JSON.parse(JSON.stringify(await answerFetch(inProcess, heard, quietCall, pull.requireAllowed))) as unknown;
  });
  return [
    ['in this process', {}],
    ['in another function', { fetcher: elsewhere }],
  ];
}

describe('who asks what refers to digests that are made up', { concurrency: false }, () => {
  test('leaves nothing in table and bucket, and costs the registry one question each', async () => {
    for (const [where, options] of fetchers()) {
      const ask = doorOf(bench, options);
      const before = await kept();
      const digests = Array.from({ length: 25 }, (_, i) => madeUp(`${where} ${i}`));
      for (const digest of digests) assert.deepEqual(listed(await asking(ask, digest)), []);
      // A second time nobody is asked.
      for (const digest of digests) assert.deepEqual(listed(await asking(ask, digest)), []);
      for (const digest of digests) assert.equal(questions(digest), 1, where);
      assert.deepEqual(await kept(), before, where);
    }
  });

  test('costs two reads of the table, and a second time one: whether a tag of it was seen since', async () => {
    const proxy = await bench.use(startFaultProxy(bench.stack.dynamoEndpoint));
    const registries = { [REGISTRY]: { endpoint: bench.upstream.origin, credentials: 'none' } };
    const { services } = await bench.use(openCache(bench.stack, { registries, dynamoEndpoint: proxy.endpoint }));
    const ask = doorOf({ services, jobs: bench.jobs }, {});
    assert.deepEqual(listed(await asking(ask, madeUp('counted'))), []);
    assert.deepEqual(operationsOf(proxy), ['GetItem', 'BatchGetItem']);
    assert.deepEqual(listed(await asking(ask, madeUp('counted'))), []);
    assert.deepEqual(operationsOf(proxy), ['GetItem', 'BatchGetItem', 'Query']);
  });

  test('at the same moment is one question', async () => {
    bench.upstream.fault(when({ kind: 'referrers' }, { delayMs: 100 }));
    const ask = doorOf(bench, {});
    const digest = madeUp('asked by many');
    const told = await Promise.all(Array.from({ length: 30 }, () => asking(ask, digest)));
    for (const one of told) assert.deepEqual(listed(one), []);
    assert.equal(questions(digest), 1);
  });

  test('asks again when the time is over', async () => {
    const ask = doorOf(bench, { serve: { referrersTtlMs: 0 } });
    const digest = madeUp('asked again');
    assert.deepEqual(listed(await asking(ask, digest)), []);
    bench.upstream.putReferrers('team/app', digest, [referrer('signature of something late')]);
    assert.deepEqual(listed(await asking(ask, digest)), [referrer('signature of something late').digest]);
  });

  test(`more than ${MOST_QUESTIONS} at once: 429 for the others, at once; not for what was pulled`, async () => {
    const slow = Array.from({ length: MOST_QUESTIONS }, (_, i) => madeUp(`slow ${i}`));
    let asked = 0;
    bench.upstream.fault(
      when({ kind: 'referrers' }, () => {
        asked++;
        return { delayMs: 1_500 };
      }),
    );
    const ask = doorOf(bench, {});
    const waiting = Promise.all(slow.map((digest) => asking(ask, digest)));
    await until(() => asked === MOST_QUESTIONS, 10_000);
    const { status, headers } = await asking(ask, madeUp('one more'));
    assert.equal(status, 429);
    assert.match(String(headers['retry-after']), /^[1-9]\d*$/);
    assert.equal(questions(madeUp('one more')), 0);
    assert.deepEqual(listed(await asking(ask, image.root.digest)), []);
    for (const one of await waiting) assert.deepEqual(listed(one), []);
    assert.deepEqual(listed(await asking(ask, madeUp('one more'))), []);
  });

  test('a registry that fails is not "none", and the next question is asked', async () => {
    const ask = doorOf(bench, {});
    const digest = madeUp('failing');
    bench.upstream.fault(when({ kind: 'referrers' }, { status: 403 }));
    assert.equal((await asking(ask, digest)).status, 403);
    bench.upstream.clearFaults();
    assert.deepEqual(listed(await asking(ask, digest)), []);
  });
});

describe('what is recorded for every process', { concurrency: false }, () => {
  test('that nothing refers to a manifest which was pulled: one row, beside that of the lock, and no object', async () => {
    for (const [at, [where, options]] of fetchers().entries()) {
      const pulled = noiseImage({ name: `pulled ${at}` });
      const { digest } = pulled.root;
      await bench.warm(pulled, 'team/app', `pulled-${at}`);
      const before = await kept();
      assert.deepEqual(listed(await asking(doorOf(bench, options), digest)), []);
      const now = await kept();
      const name = `${REGISTRY}/team/app`;
      assert.deepEqual(
        now.rows.filter((row) => !before.rows.includes(row)),
        [`LOCK#${name}:referrers:${digest} LOCK`, `TAG#${name} referrers:${digest}`],
        where,
      );
      assert.equal(now.objects, before.objects);
      assert.deepEqual(listed(await asking(doorOf(bench, options), digest)), []);
      assert.equal(questions(digest), 1, 'another process does not ask');
    }
  });

  test('what refers to a manifest that nobody pulled', async () => {
    for (const [where, options] of fetchers()) {
      const digest = madeUp(`signed ${where}`);
      const signature = referrer(`signature ${where}`);
      bench.upstream.putReferrers('team/app', digest, [signature]);
      const told = await Promise.all(Array.from({ length: 5 }, () => asking(doorOf(bench, options), digest)));
      for (const one of told) assert.deepEqual(listed(one), [signature.digest], where);
      bench.upstream.requests.length = 0;
      assert.deepEqual(listed(await asking(doorOf(bench, options), digest)), [signature.digest]);
      assert.equal(questions(digest), 0);
      // It is nobody's any more, and that is recorded, too: the row is there.
      bench.upstream.putReferrers('team/app', digest, []);
      const impatient = doorOf(bench, { ...options, serve: { referrersTtlMs: 0 } });
      assert.deepEqual(listed(await asking(impatient, digest)), []);
      assert.deepEqual(listed(await asking(doorOf(bench, options), digest)), []);
    }
  });
});
