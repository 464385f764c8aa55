import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { StoreError } from '../../lib/errors/cache-error.ts';
import { crc32Base64 } from '../../lib/store/checksums.ts';
import { DOMAIN, PART_BYTES, someContent, until, type StoreUnderTest } from '../support/store-under-test.ts';

const { signal } = new AbortController();

/** How ingests end other than by success: abort, disposal, a signal, a successor. */
export function contentStoreEndings(subject: () => StoreUnderTest): void {
  const size = 4 * PART_BYTES;

  test('abort leaves no open upload, is idempotent, and ends the ingest', async () => {
    const { store, openUploads } = subject();
    const { content, bytes } = someContent(size);
    await using upload = await store.begin(content, DOMAIN, signal);
    await upload.write(bytes.subarray(0, 2 * PART_BYTES));
    await Promise.all([upload.abort(), upload.abort()]);
    assert.equal(await openUploads(), 0);
    await assert.rejects(upload.write(bytes), StoreError);
    await assert.rejects(upload.commit(), StoreError);
    assert.equal(upload.checkpoint(), undefined);
    assert.equal(await store.find(content.digest, signal), undefined);
  });

  test('disposal without commit aborts; abort after commit does nothing', async () => {
    const { store, openUploads } = subject();
    const { content, bytes } = someContent(size);
    {
      await using upload = await store.begin(content, DOMAIN, signal);
      await upload.write(bytes.subarray(0, 3 * PART_BYTES));
    }
    assert.equal(await openUploads(), 0);
    await using upload = await store.begin(content, DOMAIN, signal);
    await upload.write(bytes);
    await upload.commit();
    await upload.abort();
    assert.equal((await store.find(content.digest, signal))?.size, size);
    await assert.rejects(upload.commit(), StoreError);
  });

  test('a signal that fires surfaces as its reason, with nothing under way and no upload left', async () => {
    const { store, proxy, openUploads } = subject();
    const { content, bytes } = someContent(size);
    const deadline = new AbortController();
    const reason = new Error('the deadline');
    const rule = { path: /partNumber=[234]/, times: Infinity, action: { kind: 'delay', delayMs: 300 } } as const;
    proxy.rules.push(rule);
    {
      await using upload = await store.begin(content, DOMAIN, deadline.signal);
      await upload.write(bytes.subarray(0, 2 * PART_BYTES));
      setTimeout(() => deadline.abort(reason), 100);
      await assert.rejects(
        (async () => {
          await upload.write(bytes.subarray(2 * PART_BYTES));
          await upload.commit();
        })(),
        (error) => error === reason,
      );
    }
    proxy.rules.splice(proxy.rules.indexOf(rule), 1);
    assert.equal(await openUploads(), 0);
    for (const call of [
      () => store.find(content.digest, deadline.signal),
      () => store.read(content, size, deadline.signal),
      () => store.put(content, bytes, DOMAIN, deadline.signal),
      () => store.begin(content, DOMAIN, deadline.signal),
    ]) {
      await assert.rejects(call(), (error) => error === reason);
    }
  });

  test('a signal that fires while S3 begins the upload leaves none: its id is waited for, and discarded', async () => {
    const { store, proxy, openUploads } = subject();
    const { content, bytes } = someContent(size);
    const deadline = new AbortController();
    const reason = new Error('the deadline');
    proxy.rules.push({ method: 'POST', path: /\?uploads/, times: 1, action: { kind: 'delay', delayMs: 300 } });
    {
      await using upload = await store.begin(content, DOMAIN, deadline.signal);
      await upload.write(bytes.subarray(0, PART_BYTES));
      await until(() => proxy.log.at(-1)?.fault === 'delay');
      deadline.abort(reason);
      await assert.rejects(upload.write(bytes.subarray(PART_BYTES)), (error) => error === reason);
    }
    proxy.rules.length = 0;
    assert.equal(proxy.log.at(-1)?.method, 'DELETE');
    assert.equal(await openUploads(), 0);
  });

  test('a checkpoint covers the parts that are up; a successor discards them and starts anew', async () => {
    const { store, openUploads } = subject();
    const { content, bytes } = someContent(size);
    await using first = await store.begin(content, DOMAIN, signal);
    assert.equal(first.checkpoint(), undefined);
    await first.write(bytes.subarray(0, 2 * PART_BYTES + 10));
    await until(() => first.checkpoint()?.partsDone === 2);
    const checkpoint = first.checkpoint();
    assert.equal(checkpoint?.partsDone, 2);
    assert.equal(checkpoint.partBytes, PART_BYTES);
    assert.equal(checkpoint.crc32, crc32Base64(crc32(bytes.subarray(0, 2 * PART_BYTES))));
    assert.ok(Math.abs(checkpoint.startedMs - Date.now()) < 60_000);
    assert.equal(await openUploads(), 1);

    await using second = await store.begin(content, DOMAIN, signal, checkpoint);
    assert.equal(second.offset, 0);
    assert.equal(await openUploads(), 0);
    await second.write(bytes);
    await second.commit();
    assert.equal((await store.find(content.digest, signal))?.size, size);
  });
}
