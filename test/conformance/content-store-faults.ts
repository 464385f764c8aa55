import { PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContentMismatchError, StoreError } from '../../lib/errors/cache-error.ts';
import { blobObjectKey } from '../../lib/store/keys.ts';
import type { FaultAction, FaultRule } from '../support/http-fault-proxy.ts';
import {
  chunksOf,
  DOMAIN,
  ingest,
  PART_BYTES,
  sha256Of,
  someContent,
  until,
  type StoreUnderTest,
} from '../support/store-under-test.ts';

const { signal } = new AbortController();

const PUT = { method: 'PUT', path: /blobs\/sha256\/[0-9a-f]{64}\?x-id=PutObject/ };
const PART = { method: 'PUT', path: /partNumber=/ };
const CREATE = { method: 'POST', path: /\?uploads/ };
const COMPLETE = { method: 'POST', path: /uploadId=/ };
const HEAD = { method: 'HEAD' };
const GET = { method: 'GET' };
const DISCARD = { method: 'DELETE', path: /uploadId=/ };

const lost: FaultAction = { kind: 'lose-answer' };
const reset: FaultAction = { kind: 'reset' };
const s3Answer = (status: number, code: string): FaultAction => ({
  kind: 'answer',
  answer: {
    status,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>made up by the test</Message></Error>`,
  },
});
const slowDown = s3Answer(503, 'SlowDown');
const internalError = s3Answer(500, 'InternalError');
const conflict = s3Answer(409, 'ConditionalRequestConflict');

/** Runs `body` while `rules` are in force; what was logged meanwhile is given back. */
async function under(it: StoreUnderTest, rules: FaultRule[], body: () => Promise<unknown>): Promise<string[]> {
  const before = it.proxy.log.length;
  it.proxy.rules.push(...rules);
  try {
    await body();
  } finally {
    it.proxy.rules.length = 0;
  }
  const logged = it.proxy.log.slice(before);
  // Nothing runs on: what is still open at the proxy was given up, and its connection is just being closed.
  await until(() => logged.every((request) => request.endedMs !== undefined), 500);
  return logged.map((request) => `${request.method} ${request.fault ?? ''}`.trim());
}

/** What the content store does when S3 misbehaves, through the fault proxy. */
export function contentStoreFaults(subject: () => StoreUnderTest): void {
  lostAnswers(subject);
  conflicts(subject);
  trouble(subject);
}

function lostAnswers(subject: () => StoreUnderTest): void {
  test('a PUT whose answer was lost: the retry is refused, the HEAD decides', async () => {
    const it = subject();
    const { content, bytes } = someContent(10_000);
    const requests = await under(it, [{ ...PUT, times: 1, action: lost }], async () => {
      assert.equal((await it.store.put(content, bytes, DOMAIN, signal)).domain, DOMAIN);
    });
    assert.deepEqual(requests, ['PUT lose-answer', 'PUT', 'HEAD']);
  });

  for (const times of [1, 2]) {
    test(`${times} lost answers of Complete: the HEAD decides, no upload is left`, async () => {
      const it = subject();
      const { content, bytes } = someContent(2 * PART_BYTES);
      await under(it, [{ ...COMPLETE, times, action: lost }], async () => {
        const stored = await ingest(it.store, content, bytes);
        assert.deepEqual(await it.store.find(content.digest, signal), stored);
      });
      assert.equal(sha256Of(await it.bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
      assert.equal(await it.openUploads(), 0);
    });
  }

  test('lost answers of parts, a delete and a read are asked again', async () => {
    const it = subject();
    const { content, bytes } = someContent(3 * PART_BYTES);
    await it.direct.send(
      new PutObjectCommand({ Bucket: it.bucket, Key: blobObjectKey(content.digest), Body: Buffer.from('wrong') }),
    );
    const rules = [PART, HEAD, GET, { method: 'DELETE' }].map((match) => ({ ...match, times: 1, action: lost }));
    await under(it, rules, async () => {
      await ingest(it.store, content, bytes);
      await it.store.read(content, content.size, signal);
    });
    assert.equal(await it.openUploads(), 0);
  });
}

function conflicts(subject: () => StoreUnderTest): void {
  test('409 on a PUT is tried again', async () => {
    const it = subject();
    const { content, bytes } = someContent(10_000);
    const requests = await under(it, [{ ...PUT, times: 2, action: conflict }], () =>
      it.store.put(content, bytes, DOMAIN, signal),
    );
    assert.deepEqual(requests, ['PUT answer', 'PUT answer', 'PUT']);
  });

  test('409 on Complete with a winner is success, and discards this upload', async () => {
    const it = subject();
    const { content, bytes } = someContent(2 * PART_BYTES);
    await using loser = await it.store.begin(content, DOMAIN, signal);
    await loser.write(bytes);
    const winner = await ingest(it.store, content, bytes);
    await under(it, [{ ...COMPLETE, times: 1, action: conflict }], async () => {
      assert.equal((await loser.commit()).etag, winner.etag);
    });
    assert.equal(await it.openUploads(), 0);
  });

  test('409 on Complete without a winner: the blob must be fetched again', async () => {
    const it = subject();
    const { content, bytes } = someContent(2 * PART_BYTES);
    await under(it, [{ ...COMPLETE, times: 1, action: conflict }], () =>
      assert.rejects(ingest(it.store, content, bytes), (error) => error instanceof StoreError && error.retryable),
    );
    assert.equal(await it.openUploads(), 0);
    assert.equal((await ingest(it.store, content, bytes)).size, content.size);
  });

  test('an upload that somebody discarded: the blob must be fetched again', async () => {
    const it = subject();
    const { content, bytes } = someContent(2 * PART_BYTES);
    await using first = await it.store.begin(content, DOMAIN, signal);
    await first.write(bytes);
    await until(() => first.checkpoint()?.partsDone === 2);
    const checkpoint = first.checkpoint();
    assert.ok(checkpoint);
    await it.store.begin(content, DOMAIN, signal, checkpoint);
    await assert.rejects(first.commit(), (error) => error instanceof StoreError && error.retryable);
    assert.equal(await it.store.find(content.digest, signal), undefined);
  });
}

function trouble(subject: () => StoreUnderTest): void {
  test('throttling, 500s and resets are no answer: asked again, never read as absent', async () => {
    const it = subject();
    const { content, bytes } = someContent(10_000);
    await it.store.put(content, bytes, DOMAIN, signal);
    for (const action of [slowDown, internalError, reset]) {
      await under(it, [{ ...HEAD, times: 2, action }], async () => {
        assert.equal((await it.store.find(content.digest, signal))?.size, content.size);
      });
    }
    const forever = [{ times: Infinity, action: internalError }];
    const requests = await under(it, forever, () =>
      assert.rejects(it.store.find(content.digest, signal), (error) => error instanceof StoreError && error.retryable),
    );
    assert.equal(requests.length, 5, 'tries are bounded');
    await under(it, forever, () => assert.rejects(it.store.read(content, content.size, signal), StoreError));
  });

  test('403 is no answer either, and names the permission', async () => {
    const it = subject();
    const { content, bytes } = someContent(10);
    const denied = [{ times: Infinity, action: s3Answer(403, 'AccessDenied') }];
    const named = (error: unknown): boolean =>
      error instanceof StoreError && !error.retryable && error.message.includes('s3:ListBucket');
    await under(it, denied, () => assert.rejects(it.store.find(content.digest, signal), named));
    await under(it, denied, () => assert.rejects(it.store.put(content, bytes, DOMAIN, signal), named));
  });

  test('a missing bucket is a fault of the configuration', async () => {
    const it = subject();
    const { content, bytes } = someContent(10);
    const gone = [{ times: Infinity, action: s3Answer(404, 'NoSuchBucket') }];
    await under(it, gone, () =>
      assert.rejects(
        it.store.put(content, bytes, DOMAIN, signal),
        (error) => error instanceof StoreError && !error.retryable && error.message.includes('bucket'),
      ),
    );
  });

  test('an upload survives throttled, failed and reset requests of every kind', async () => {
    const it = subject();
    const { content, bytes } = someContent(4 * PART_BYTES);
    const rules = [CREATE, PART, COMPLETE].flatMap((match) =>
      [slowDown, internalError, reset].map((action) => ({ ...match, times: 1, action })),
    );
    await under(it, rules, () => ingest(it.store, content, bytes, 500_000));
    assert.equal(sha256Of(await it.bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
    assert.equal(await it.openUploads(), 0);
  });

  test('a part that fails for good stops its siblings, is the error reported, and leaves no upload', async () => {
    const it = subject();
    const { content, bytes } = someContent(6 * PART_BYTES);
    const rules: FaultRule[] = [
      { method: 'PUT', path: /partNumber=2&/, times: Infinity, action: s3Answer(400, 'EntityTooSmall') },
      { method: 'PUT', path: /partNumber=[3-6]&/, times: Infinity, action: { kind: 'delay', delayMs: 2_000 } },
    ];
    const startedMs = performance.now();
    await under(it, rules, async () => {
      await using upload = await it.store.begin(content, DOMAIN, signal);
      await assert.rejects(async () => {
        for (const chunk of chunksOf(bytes, 1_000_000)) await upload.write(chunk);
        await upload.commit();
      }, /EntityTooSmall/);
    });
    assert.ok(performance.now() - startedMs < 1_900, 'the siblings were stopped');
    assert.equal(await it.openUploads(), 0);
    assert.equal(await it.store.find(content.digest, signal), undefined);
  });

  test('an abort that fails does not hide the error before it, and is bounded', async () => {
    const it = subject();
    const { content, bytes } = someContent(2 * PART_BYTES);
    const never: FaultAction = { kind: 'hold', until: new Promise<undefined>(() => undefined) };
    const startedMs = performance.now();
    await under(it, [{ ...DISCARD, times: Infinity, action: never }], () =>
      assert.rejects(ingest(it.store, content, bytes.subarray(1)), ContentMismatchError),
    );
    assert.ok(performance.now() - startedMs < 8_000);
  });
}
