import { AbortMultipartUploadCommand, UploadPartCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { StoreError } from '../../lib/errors/cache-error.ts';
import { PUBLIC } from '../../lib/reference/trust-domain.ts';
import { crc32Base64 } from '../../lib/store/checksums.ts';
import type { Checkpoint } from '../../lib/store/content-store.ts';
import { blobObjectKey } from '../../lib/store/keys.ts';
import {
  chunksOf,
  DOMAIN,
  PART_BYTES,
  sha256Of,
  someContent,
  until,
  type StoreUnderTest,
} from '../support/store-under-test.ts';

const { signal } = new AbortController();
/** Little is left behind what a predecessor brought. */
const SIZE = 2 * PART_BYTES + 1_000;
const LONG = 4 * PART_BYTES + 1_000;
const DAY_MS = 24 * 60 * 60 * 1000;

type Content = ReturnType<typeof someContent>;

/** An ingest that stopped after `bytes`, once all whole parts were up. */
async function stopped(it: StoreUnderTest, { content, bytes }: Content, after: number): Promise<Checkpoint> {
  const first = await it.resumable.begin(content, DOMAIN, signal);
  for (const chunk of chunksOf(bytes.subarray(0, after), 700_000)) await first.write(chunk);
  await until(() => first.checkpoint()?.partsDone === Math.floor(after / PART_BYTES));
  const checkpoint = await first.suspend();
  await first[Symbol.asyncDispose]();
  assert.equal(first.checkpoint(), undefined);
  assert.ok(checkpoint?.hashState !== undefined);
  return checkpoint;
}

/** The parts that were sent since the log had `before` entries. */
const partsSent = (it: StoreUnderTest, before: number): number[] =>
  it.proxy.log
    .slice(before)
    .map(({ path }) => Number(/partNumber=(\d+)/.exec(path)?.[1] ?? 0))
    .filter((number) => number > 0)
    .sort((one, other) => one - other);

/** How an ingest is gone on with by a successor: in the middle, or from its start, but never to wrong content. */
export function contentStoreResume(subject: () => StoreUnderTest): void {
  goesOn(subject);
  beginsAnew(subject);
  findsOut(subject);
}

function goesOn(subject: () => StoreUnderTest): void {
  test('a successor goes on where a suspended ingest stopped: nothing before it is sent again', async () => {
    const it = subject();
    const made = someContent(LONG);
    const { content, bytes } = made;
    const checkpoint = await stopped(it, made, 2 * PART_BYTES + 10);
    assert.equal(checkpoint.domain, DOMAIN);
    assert.equal(checkpoint.crc32, crc32Base64(crc32(bytes.subarray(0, 2 * PART_BYTES))));
    assert.equal(await it.openUploads(), 1);

    const before = it.proxy.log.length;
    await using second = await it.store.begin(content, DOMAIN, signal, checkpoint);
    assert.equal(second.offset, 2 * PART_BYTES);
    assert.deepEqual(second.checkpoint(), checkpoint);
    for (const chunk of chunksOf(bytes.subarray(second.offset), 1, 900_000)) await second.write(chunk);
    const stored = await second.commit();
    assert.deepEqual(partsSent(it, before), [3, 4, 5]);
    assert.deepEqual(await it.store.find(content.digest, signal), stored);
    assert.equal(stored.crc32, crc32Base64(crc32(bytes)));
    assert.equal(stored.domain, DOMAIN);
    assert.equal(sha256Of(await it.bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
    assert.equal(await it.openUploads(), 0);
  });

  test('any number of successors bring it to its end, whatever each of them brings', async () => {
    const it = subject();
    const { content, bytes } = someContent(LONG);
    let checkpoint: Checkpoint | undefined;
    for (const parts of [1, 2, 2, 4]) {
      await using ingest = await it.resumable.begin(content, DOMAIN, signal, checkpoint);
      assert.equal(ingest.offset, (checkpoint?.partsDone ?? 0) * PART_BYTES);
      await ingest.write(bytes.subarray(ingest.offset, parts * PART_BYTES + 5));
      await until(() => ingest.checkpoint()?.partsDone === parts);
      checkpoint = await ingest.suspend();
    }
    await using last = await it.store.begin(content, DOMAIN, signal, checkpoint);
    assert.equal(last.offset, 4 * PART_BYTES);
    await last.write(bytes.subarray(last.offset));
    await last.commit();
    assert.equal(sha256Of(await it.bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
    assert.equal(await it.openUploads(), 0);
  });

  test('parts behind the checkpoint of a killed ingest are written again', async () => {
    const it = subject();
    const { content, bytes } = someContent(3 * PART_BYTES);
    const killed = await it.resumable.begin(content, DOMAIN, signal);
    await killed.write(bytes.subarray(0, PART_BYTES));
    await until(() => killed.checkpoint()?.partsDone === 1);
    const checkpoint = killed.checkpoint();
    await killed.write(bytes.subarray(PART_BYTES));
    await until(() => killed.checkpoint()?.partsDone === 3);

    const before = it.proxy.log.length;
    await using second = await it.store.begin(content, DOMAIN, signal, checkpoint);
    assert.equal(second.offset, PART_BYTES);
    await second.write(bytes.subarray(PART_BYTES));
    await second.commit();
    assert.deepEqual(partsSent(it, before), [2, 3]);
    assert.equal(sha256Of(await it.bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
  });

  test('an ingest that is all there but was not committed is committed by its successor', async () => {
    const it = subject();
    const made = someContent(2 * PART_BYTES);
    const checkpoint = await stopped(it, made, 2 * PART_BYTES);
    await using second = await it.store.begin(made.content, DOMAIN, signal, checkpoint);
    assert.equal(second.offset, made.content.size);
    assert.equal((await second.commit()).size, made.content.size);
  });

  test('fast content, and content of one part, cannot be gone on with: suspending it leaves nothing', async () => {
    const { store, resumable, openUploads } = subject();
    const large = someContent(SIZE);
    const small = someContent(1_000);
    for (const [from, { content, bytes }] of [
      [store, large],
      [resumable, small],
    ] as const) {
      await using ingest = await from.begin(content, DOMAIN, signal);
      await ingest.write(bytes.subarray(0, 2 * PART_BYTES));
      assert.equal(await ingest.suspend(), undefined);
    }
    assert.equal(await openUploads(), 0);
  });
}

function beginsAnew(subject: () => StoreUnderTest): void {
  const flipped = (state = ''): string => {
    const bytes = Buffer.from(state, 'base64');
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return bytes.toString('base64');
  };
  const changes: Record<string, (checkpoint: Checkpoint) => Checkpoint> = {
    'is of another trust domain': (checkpoint) => ({ ...checkpoint, domain: PUBLIC }),
    'is six days old': (checkpoint) => ({ ...checkpoint, startedMs: Date.now() - 6 * DAY_MS }),
    'has parts of another size': (checkpoint) => ({ ...checkpoint, partBytes: PART_BYTES + 1 }),
    'counts more parts than there are': (checkpoint) => ({ ...checkpoint, partsDone: 3 }),
    'counts more parts than the content has': (checkpoint) => ({ ...checkpoint, partsDone: 5 }),
    'counts no parts': (checkpoint) => ({ ...checkpoint, partsDone: 0 }),
    'has the CRC-32 of other bytes': (checkpoint) => ({ ...checkpoint, crc32: 'AAAAAA==' }),
    'has no hash state': ({ hashState: _, ...checkpoint }) => checkpoint,
    'has the hash state of another version': ({ hashState, ...rest }) => ({ ...rest, hashState: flipped(hashState) }),
    'has a hash state that is none': (checkpoint) => ({ ...checkpoint, hashState: 'no state' }),
  };
  for (const [what, change] of Object.entries(changes)) {
    test(`a checkpoint that ${what} is discarded: the ingest is a fresh one`, async () => {
      const it = subject();
      const content = someContent(SIZE);
      await isBegunAnew(it, content, change(await stopped(it, content, 2 * PART_BYTES)));
    });
  }

  const meddling: Record<string, (it: StoreUnderTest, upload: PartOf) => Promise<unknown>> = {
    'is gone': (it, { PartNumber: _, ...upload }) => it.direct.send(new AbortMultipartUploadCommand(upload)),
    'has a part of another size': (it, part) =>
      it.direct.send(new UploadPartCommand({ ...part, Body: randomBytes(PART_BYTES + 1), ChecksumAlgorithm: 'CRC32' })),
    'has a part with other bytes': (it, part) =>
      it.direct.send(new UploadPartCommand({ ...part, Body: randomBytes(PART_BYTES), ChecksumAlgorithm: 'CRC32' })),
  };
  for (const [what, meddle] of Object.entries(meddling)) {
    test(`an upload that ${what} is discarded: the ingest is a fresh one`, async () => {
      const it = subject();
      const content = someContent(SIZE);
      const checkpoint = await stopped(it, content, 2 * PART_BYTES);
      const { uploadId: UploadId } = checkpoint;
      await meddle(it, { Bucket: it.bucket, Key: blobObjectKey(content.content.digest), UploadId, PartNumber: 2 });
      await isBegunAnew(it, content, checkpoint);
    });
  }
}

interface PartOf {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string;
  readonly PartNumber: number;
}

async function isBegunAnew(it: StoreUnderTest, { content, bytes }: Content, checkpoint: Checkpoint): Promise<void> {
  await using second = await it.store.begin(content, DOMAIN, signal, checkpoint);
  assert.equal(second.offset, 0);
  assert.equal(await it.openUploads(), 0, 'what the predecessor left is gone');
  await second.write(bytes);
  const stored = await second.commit();
  assert.equal(stored.domain, DOMAIN);
  assert.equal(sha256Of(await it.bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
}

function findsOut(subject: () => StoreUnderTest): void {
  const again = (error: unknown): boolean => error instanceof StoreError && error.retryable;

  test('a hash state of other bytes, or other bytes behind it: nothing becomes visible, and a fresh ingest is asked for', async () => {
    const it = subject();
    const content = someContent(SIZE);
    const { bytes } = content;
    const other = someContent(SIZE);
    const { uploadId, hashState = '' } = await stopped(it, other, 2 * PART_BYTES);
    const upload = { Bucket: it.bucket, Key: blobObjectKey(other.content.digest), UploadId: uploadId };
    await it.direct.send(new AbortMultipartUploadCommand(upload));
    const wrongEnd = Buffer.concat([bytes.subarray(2 * PART_BYTES, SIZE - 1), Buffer.of((bytes[SIZE - 1] ?? 0) ^ 1)]);
    for (const [wrong, rest] of [
      [{ hashState }, bytes.subarray(2 * PART_BYTES)],
      [{}, wrongEnd],
    ] as const) {
      const checkpoint = await stopped(it, content, 2 * PART_BYTES);
      await using second = await it.store.begin(content.content, DOMAIN, signal, { ...checkpoint, ...wrong });
      assert.equal(second.offset, 2 * PART_BYTES);
      await second.write(rest);
      await assert.rejects(second.commit(), again);
      assert.equal(await it.store.find(content.content.digest, signal), undefined);
    }
    assert.equal(await it.openUploads(), 0);
  });

  test('a part that a late predecessor writes again while its successor goes on: a fresh ingest is asked for', async () => {
    const it = subject();
    const content = someContent(SIZE);
    const checkpoint = await stopped(it, content, 2 * PART_BYTES);
    await using second = await it.store.begin(content.content, DOMAIN, signal, checkpoint);
    await second.write(content.bytes.subarray(second.offset));
    const part = {
      Bucket: it.bucket,
      Key: blobObjectKey(content.content.digest),
      UploadId: checkpoint.uploadId,
      PartNumber: 1,
    };
    const late = new UploadPartCommand({ ...part, Body: randomBytes(PART_BYTES), ChecksumAlgorithm: 'CRC32' });
    await it.direct.send(late);
    await assert.rejects(second.commit(), again);
    assert.equal(await it.store.find(content.content.digest, signal), undefined);
  });

  test('S3 that does not answer says nothing about the upload: it stays for the next try', async () => {
    const it = subject();
    const content = someContent(SIZE);
    const checkpoint = await stopped(it, content, PART_BYTES);
    const before = await it.openUploads();
    const answer = {
      status: 503,
      headers: { 'content-type': 'application/xml' },
      body: '<Error><Code>SlowDown</Code></Error>',
    };
    it.proxy.rules.push({ method: 'GET', path: /uploadId=/, times: Infinity, action: { kind: 'answer', answer } });
    await assert.rejects(it.store.begin(content.content, DOMAIN, signal, checkpoint), again);
    it.proxy.rules.length = 0;
    assert.equal(await it.openUploads(), before);
    await using second = await it.store.begin(content.content, DOMAIN, signal, checkpoint);
    assert.equal(second.offset, PART_BYTES);
  });
}
