import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { blobKey, NOBODY } from '../../lib/table/keys.ts';
import { StoreError } from '../../lib/errors/cache-error.ts';
import type { FaultAction, FaultRule } from '../support/http-fault-proxy.ts';
import { noiseImage, type Image } from '../support/images.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
after(() => faults[Symbol.asyncDispose]());

const MIB = 1024 * 1024;

const s3Error = (status: number, code: string): FaultAction => ({
  kind: 'answer',
  answer: {
    status,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>injected</Message></Error>`,
  },
});

/** The requests of a pull to S3. A blob of two parts goes up as a multipart upload, the others by one PUT each. */
const requests = {
  HeadObject: { method: 'HEAD', path: /\/blobs\// },
  PutObject: { method: 'PUT', path: /\/blobs\/sha256\/[0-9a-f]{64}(?!.*partNumber)/ },
  CreateMultipartUpload: { method: 'POST', path: /[?&]uploads/ },
  UploadPart: { method: 'PUT', path: /partNumber=/ },
  CompleteMultipartUpload: { method: 'POST', path: /uploadId=/ },
  'PutObject of the record': { method: 'PUT', path: /\/refs\// },
} as const satisfies Record<string, Pick<FaultRule, 'method' | 'path'>>;

type Request = keyof typeof requests;
/** Those of a blob in parts: the others are tried with small ones, which cost less. */
const OF_PARTS: readonly Request[] = ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'];
const EVERYWHERE = Object.keys(requests) as Request[];

const passing: { name: string; action: FaultAction; of: Request[]; gets?: number }[] = [
  { name: 'a lost answer', action: { kind: 'lose-answer' }, of: EVERYWHERE },
  { name: 'SlowDown', action: s3Error(503, 'SlowDown'), of: EVERYWHERE },
  { name: 'a 500', action: s3Error(500, 'InternalError'), of: EVERYWHERE },
  { name: 'a reset', action: { kind: 'reset' }, of: EVERYWHERE },
  { name: 'a slow answer', action: { kind: 'delay', delayMs: 300 }, of: EVERYWHERE },
  { name: '409', action: s3Error(409, 'ConditionalRequestConflict'), of: ['PutObject'] },
];

/** The image of a case. HEAD is sent where an earlier copier left its row: for its blobs it did. */
async function imageOf(name: string, sent: readonly Request[]): Promise<Image> {
  const isLarge = sent.some((request) => OF_PARTS.includes(request));
  const image = noiseImage({ name, layerBytes: isLarge ? [2_000, 6 * MIB] : [2_000, 3_000] });
  if (!sent.includes('HeadObject')) return image;
  await faults.putRows(
    [...image.blobs.keys()].map((digest) => ({ ...blobKey(digest), holder: NOBODY, generation: 1 })),
  );
  return image;
}

describe(
  'a pull with a fault of S3 at a request of each kind completes, and fetches each blob once',
  { concurrency: 4 },
  () => {
    for (const [i, { name, action, of }] of passing.entries()) {
      const repository = `passing/${i}`;
      test(`${name}: ${of.join(', ')}`, async () => {
        await using faulty = await faults.open();
        const image = await imageOf(repository, of);
        const reference = faults.offer(image, repository);
        for (const request of of) faulty.s3.rules.push({ ...requests[request], times: 1, action });
        const receipt = await faulty.cache.pull(reference);
        assert.equal(receipt.outcome, 'pulled');
        assert.equal(receipt.blobs.copied, image.blobs.size);
        const met = faulty.s3.log.filter(({ fault }) => fault !== undefined);
        assert.equal(met.length, of.length, 'each fault was met');
        await faults.assertLanded(faulty, image, repository);
      });
    }
  },
);

test('a conflict at Complete starts the upload of that blob again', async () => {
  await using faulty = await faults.open();
  const image = noiseImage({ name: 'conflict', layerBytes: [6 * MIB] });
  const reference = faults.offer(image, 'complete/conflict');
  const conflict = s3Error(409, 'ConditionalRequestConflict');
  faulty.s3.rules.push({ ...requests.CompleteMultipartUpload, times: 1, action: conflict });
  assert.equal((await faulty.cache.pull(reference)).outcome, 'pulled');
  const [large] = [...image.blobs].find(([, bytes]) => bytes.byteLength > MIB)!;
  for (const digest of image.blobs.keys()) {
    const gets = faults.upstream.count({ kind: 'blob', method: 'GET', reference: digest });
    assert.equal(gets, digest === large ? 2 : 1);
  }
  assert.equal((await faulty.cache.validate(reference, { deep: true })).state, 'complete');
});

describe('a pull with an S3 that stays broken fails cleanly, and the next one fetches only what is missing', () => {
  // What is published without its record is published: ref-records.test.ts.
  for (const [i, request] of EVERYWHERE.filter((one) => one !== 'PutObject of the record').entries()) {
    const repository = `broken/${i}`;
    test(request, async () => {
      await using faulty = await faults.open();
      const image = await imageOf(repository, [request]);
      const reference = faults.offer(image, repository);
      faulty.s3.rules.push({ ...requests[request], times: Infinity, action: s3Error(403, 'AccessDenied') });
      await assert.rejects(faulty.cache.pull(reference), StoreError);
      faulty.s3.rules.length = 0;
      assert.equal((await faulty.cache.validate(reference)).state, 'unknown');
      assert.equal((await faulty.cache.pull(reference)).outcome, 'pulled');
      assert.equal((await faulty.cache.validate(reference, { deep: true })).state, 'complete');
    });
  }
});
