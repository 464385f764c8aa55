import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ContentLostError, ContentMismatchError } from '../../lib/errors/cache-error.ts';
import { digestOf, hexOf } from '../../lib/oci/digest.ts';
import { PUBLIC } from '../../lib/reference/trust-domain.ts';
import { sha256Base64 } from '../../lib/store/checksums.ts';
import { blobObjectKey } from '../../lib/store/keys.ts';
import {
  chunksOf,
  DOMAIN,
  ingest,
  PART_BYTES,
  someContent,
  until,
  type StoreUnderTest,
} from '../support/store-under-test.ts';

const { signal } = new AbortController();

/** Content whose name S3 cannot compare with its bytes: what S3 says of its SHA-256 proves nothing. */
export function contentStoreSha512(subject: () => StoreUnderTest): void {
  for (const size of [0, 1, 70_000]) {
    test(`puts, finds and reads ${size} bytes by SHA-512`, async () => {
      const { store, keys } = subject();
      const { content, bytes } = someContent(size, 'sha512');
      const stored = await store.put(content, bytes, DOMAIN, signal);
      assert.ok((await keys()).includes(`blobs/sha512/${hexOf(content.digest)}`));
      assert.equal(stored.sha256, sha256Base64(digestOf(bytes)));
      assert.deepEqual(await store.find(content.digest, signal), stored);
      assert.deepEqual(Buffer.from(await store.read(content, size, signal)), bytes);
      assert.deepEqual(await store.put(content, bytes, PUBLIC, signal), stored, 'the first writer stays');
      // Zero bytes are there by both: an earlier test stored them.
      if (size > 0)
        assert.equal(await store.find(digestOf(bytes), signal), undefined, 'nothing is there by its SHA-256');
    });
  }

  for (const [what, wrong] of [
    ['of another digest', (bytes: Buffer) => Buffer.from(bytes).fill(0, 0, 8)],
    ['of another size', (bytes: Buffer) => bytes.subarray(1)],
  ] as const) {
    test(`refuses bytes ${what} under a SHA-512`, async () => {
      const { store } = subject();
      const { content, bytes } = someContent(2_000, 'sha512');
      await assert.rejects(store.put(content, wrong(bytes), DOMAIN, signal), ContentMismatchError);
      await assert.rejects(ingest(store, content, wrong(bytes), 700), ContentMismatchError);
      assert.equal(await store.find(content.digest, signal), undefined);
    });
  }

  test('ingests parts by SHA-512, and finds a wrong byte in any of them', async () => {
    const it = subject();
    const { content, bytes } = someContent(2 * PART_BYTES + 1_000, 'sha512');
    const wrong = Buffer.from(bytes);
    wrong[PART_BYTES + 5]! ^= 1;
    await assert.rejects(ingest(it.store, content, wrong, 900_000), ContentMismatchError);
    assert.equal(await it.store.find(content.digest, signal), undefined);
    assert.equal(await it.openUploads(), 0);
    const stored = await ingest(it.store, content, bytes, 900_000);
    assert.deepEqual(await it.store.find(content.digest, signal), stored);
    assert.ok(await it.store.isContent(content, stored, signal));
    assert.deepEqual(await ingest(it.store, content, bytes, 900_000), stored);
  });

  test('a successor goes on with a SHA-512 where its predecessor stopped', async () => {
    const it = subject();
    const { content, bytes } = someContent(3 * PART_BYTES + 1_000, 'sha512');
    const first = await it.resumable.begin(content, DOMAIN, signal);
    for (const chunk of chunksOf(bytes.subarray(0, 2 * PART_BYTES + 10), 700_000)) await first.write(chunk);
    await until(() => first.checkpoint()?.partsDone === 2);
    const checkpoint = await first.suspend();
    assert.ok(checkpoint?.hashState !== undefined);
    await using second = await it.store.begin(content, DOMAIN, signal, checkpoint);
    assert.equal(second.offset, 2 * PART_BYTES);
    for (const chunk of chunksOf(bytes.subarray(second.offset), 1, 900_000)) await second.write(chunk);
    await second.commit();
    assert.deepEqual(Buffer.from(await it.store.read(content, content.size, signal)), bytes);
  });

  test("other bytes under a SHA-512 are found out, although S3's own SHA-256 is right for them", async () => {
    const { store, direct, bucket } = subject();
    const { content, bytes } = someContent(3_000, 'sha512');
    const put = (body: Buffer) =>
      direct.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: blobObjectKey(content.digest),
          Body: body,
          ChecksumSHA256: sha256Base64(digestOf(body)),
        }),
      );
    await put(randomBytes(3_000));
    const found = await store.find(content.digest, signal);
    assert.ok(found?.sha256 !== undefined);
    assert.equal(await store.isContent(content, found, signal), false);
    await assert.rejects(store.read(content, 3_000, signal), ContentLostError);
    // A writer replaces them.
    const stored = await store.put(content, bytes, DOMAIN, signal);
    assert.deepEqual(Buffer.from(await store.read(content, 3_000, signal)), bytes);
    // Right bytes, whoever put them there, are content.
    await direct.send(new DeleteObjectCommand({ Bucket: bucket, Key: blobObjectKey(content.digest) }));
    await put(bytes);
    const again = await store.find(content.digest, signal);
    assert.ok(again !== undefined && (await store.isContent(content, again, signal)));
    assert.equal(again.sha256, stored.sha256);
  });
}
