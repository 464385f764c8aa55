import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { digestOf } from '../../../lib/oci/digest.ts';
import {
  BlobUnknownError,
  ContentMismatchError,
  DeniedError,
  RateLimitedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { times, when, type Action } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  collect,
  LIMITS,
  openRepository,
  PATH,
  readBlob,
  soon,
  upstreamForTest,
} from './client-under-test.ts';

const MIB = 1024 * 1024;

// Most of the time is spent waiting for time-outs: side by side it is spent once.
describe('blobs over HTTP', { concurrency: 4 }, () => {
  test('a blob is one GET, whole or from an offset', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, MIB);
    const repository = await openRepository(upstream.origin);
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
    assert.deepEqual(await readBlob(repository, blob, 500_000), blob.bytes.subarray(500_000));
    assert.deepEqual(repository.requests, { total: 2, ping: 0, token: 0, manifest: 0, blob: 2, redirected: 0 });
    assert.deepEqual(
      upstream.requests.map(({ headers }) => headers.range),
      [undefined, 'bytes=500000-'],
    );
  });

  test('an empty blob is asked for; the end of one is not', async () => {
    const upstream = await upstreamForTest();
    const empty = addBlob(upstream, 0);
    const blob = addBlob(upstream, 100);
    const repository = await openRepository(upstream.origin);
    assert.equal((await readBlob(repository, empty)).byteLength, 0);
    assert.equal(upstream.count(), 1);
    assert.equal((await readBlob(repository, blob, 100)).byteLength, 0);
    assert.equal(upstream.count(), 1);
    await assert.rejects(readBlob(repository, blob, 101), ContentMismatchError);
  });

  test('a blob that came compressed is given as it is stored; a label alone changes nothing', async () => {
    const upstream = await upstreamForTest();
    const repository = await openRepository(upstream.origin);
    const config = Buffer.from(JSON.stringify({ os: 'linux', long: 'x'.repeat(200_000) }));
    const layer = gzipSync(Buffer.from('a layer'.repeat(50_000)));
    const descriptorOf = (bytes: Buffer) => ({ mediaType: 'x/y', digest: digestOf(bytes), size: bytes.byteLength });
    const cases: { stored: Buffer; sent: Buffer; encoding: string; chunked?: boolean; again?: boolean }[] = [
      { stored: config, sent: gzipSync(config), encoding: 'gzip' },
      { stored: config, sent: brotliCompressSync(config), encoding: 'br' },
      { stored: layer, sent: gzipSync(layer), encoding: 'x-gzip' },
      // Without a length the bytes are first taken as they are; whoever finds their digest wrong asks again.
      { stored: config, sent: gzipSync(config), encoding: 'gzip', chunked: true, again: true },
      { stored: layer, sent: layer, encoding: 'gzip' },
      { stored: layer, sent: layer, encoding: 'gzip', chunked: true },
      ...['', 'identity', 'utf-8', 'aws-chunked'].map((encoding) => ({ stored: layer, sent: layer, encoding })),
    ];
    for (const { stored, sent, encoding, chunked = false, again = false } of cases) {
      const { digest } = descriptorOf(stored);
      upstream.putBlob(PATH, stored);
      const remove = upstream.fault(
        when({ kind: 'blob' }, { body: sent, chunked, headers: { 'content-encoding': encoding } }),
      );
      const chunks = await repository.openBlob(descriptorOf(stored), 0, soon(), { again });
      assert.equal(digestOf(await collect(chunks)), digest, `${encoding} ${chunked}`);
      remove();
    }
    // What breaks in the middle of a coded body is begun again: a range of it would be one of other bytes.
    upstream.putBlob(PATH, config);
    const noise = randomBytes(300_000);
    const packed = gzipSync(noise);
    upstream.putBlob(PATH, noise);
    upstream.fault(
      times(
        1,
        when({ kind: 'blob' }, { body: packed, headers: { 'content-encoding': 'gzip' }, dropAfterBytes: 150_000 }),
      ),
    );
    upstream.fault(when({ kind: 'blob' }, { status: 200, body: packed, headers: { 'content-encoding': 'gzip' } }));
    const chunks = await repository.openBlob(descriptorOf(noise), 0, soon());
    assert.equal(digestOf(await collect(chunks)), digestOf(noise));
  });

  for (const status of [400, 403, 404, 416, 500]) {
    test(`a range that is answered ${status} leads to the whole blob where that says nothing of the blob`, async () => {
      const upstream = await upstreamForTest();
      const blob = addBlob(upstream, 400_000);
      upstream.fault(times(1, when({ kind: 'blob' }, { dropAfterBytes: 150_000 })));
      upstream.fault(({ headers }) => (headers.range === undefined ? undefined : { status }));
      const read = readBlob(await openRepository(upstream.origin), blob);
      // That the registry refuses us, has it no more, or is out of order means what it says.
      if ([403, 404, 500].includes(status)) await assert.rejects(read);
      else assert.deepEqual(await read, blob.bytes);
    });
  }

  test('206 that nobody asked for, with everything in it, is the blob', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 10_000);
    upstream.fault(when({ kind: 'blob' }, { status: 206, headers: { 'content-range': 'bytes 0-9999/10000' } }));
    assert.deepEqual(await readBlob(await openRepository(upstream.origin), blob), blob.bytes);
  });

  test('a drop at byte N goes on at byte N, from the original address', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, MIB);
    upstream.fault(times(3, when({ kind: 'blob' }, { dropAfterBytes: 200_000 })));
    const repository = await openRepository(upstream.origin);
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
    assert.deepEqual(
      upstream.requests.map(({ headers }) => headers.range),
      [undefined, 'bytes=200000-', 'bytes=400000-', 'bytes=600000-'],
    );
  });

  test('an upstream without ranges starts over, and what is known is skipped', async () => {
    const upstream = await upstreamForTest({ ranges: false });
    const blob = addBlob(upstream, MIB);
    upstream.fault(times(1, when({ kind: 'blob' }, { dropAfterBytes: 200_000 })));
    const repository = await openRepository(upstream.origin);
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
    assert.equal(upstream.count(), 2);
  });

  test('a short body without length goes on; a stall goes on', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, MIB);
    upstream.fault(
      times(
        1,
        when({}, (answer) => ({ chunked: true, body: answer.body.subarray(0, 1000) })),
      ),
    );
    upstream.fault(times(1, when({}, { stallAfterBytes: 70_000 })));
    const repository = await openRepository(upstream.origin);
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
    assert.deepEqual(
      upstream.requests.map(({ headers }) => headers.range),
      [undefined, 'bytes=1000-', 'bytes=71000-'],
    );
  });

  test('reconnects without progress are given up; progress resets the count', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 10_000);
    const repository = await openRepository(upstream.origin);
    upstream.fault(times(LIMITS.stalls * 2, when({ kind: 'blob' }, { dropAfterBytes: 500 })));
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
    upstream.clearFaults();
    upstream.requests.length = 0;
    upstream.fault(times(1, when({ kind: 'blob' }, { dropAfterBytes: 500 })));
    upstream.fault(when({ kind: 'blob' }, { dropAfterBytes: 0 }));
    await assert.rejects(readBlob(repository, blob), (error) => {
      return error instanceof UpstreamUnavailableError && error.message.includes('at byte 500 of 10000');
    });
    assert.equal(upstream.count(), 1 + LIMITS.stalls);
  });

  test('a stall that never ends is timed out', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 10_000);
    upstream.fault(when({ kind: 'blob' }, { stallAfterBytes: 0 }));
    const repository = await openRepository(upstream.origin, { limits: { stalls: 1, bodyTimeoutMs: 100 } });
    await assert.rejects(readBlob(repository, blob), (error) => {
      return error instanceof UpstreamUnavailableError && error.timedOut;
    });
  });

  test('wrong sizes: by length at once, by range, and in the stream before a byte too many is given', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 10_000);
    const repository = await openRepository(upstream.origin);
    const opened = (): Promise<unknown> => repository.openBlob(blob.descriptor, 0, soon());
    let remove = upstream.fault(when({}, { body: Buffer.alloc(9_999) }));
    await assert.rejects(opened(), ContentMismatchError);
    remove();
    remove = upstream.fault(when({}, { body: Buffer.alloc(10_001) }));
    await assert.rejects(opened(), ContentMismatchError);
    remove();
    remove = upstream.fault(when({}, { chunked: true, body: Buffer.alloc(300_000) }));
    const chunks = await repository.openBlob(blob.descriptor, 0, soon());
    let given = 0;
    await assert.rejects(async () => {
      for await (const chunk of chunks) given += chunk.byteLength;
    }, ContentMismatchError);
    assert.ok(given <= 10_000);
    remove();
    // A range that is not the one that was asked for leads to the whole blob.
    for (const range of ['bytes 400-9999/10000', 'bytes 500-9999/9999', 'bytes */10000', undefined]) {
      remove = upstream.fault(({ headers }) =>
        headers.range === undefined ? undefined : { headers: { 'content-range': range } },
      );
      assert.deepEqual(await readBlob(repository, blob, 500), blob.bytes.subarray(500));
      remove();
    }
    upstream.putBlob(PATH, blob.bytes.subarray(0, 300), blob.descriptor.digest);
    await assert.rejects(repository.openBlob(blob.descriptor, 500, soon()), ContentMismatchError);
  });

  test('404, 401, 403 and 429 are known before anything is read', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream);
    const repository = await openRepository(upstream.origin);
    const cases = [
      [404, BlobUnknownError],
      [401, DeniedError],
      [403, DeniedError],
      [429, RateLimitedError],
      [503, UpstreamUnavailableError],
    ] as const;
    for (const [status, type] of cases) {
      const remove = upstream.fault(when({}, { status, headers: { 'retry-after': '0' } }));
      await assert.rejects(repository.openBlob(blob.descriptor, 0, soon()), type);
      remove();
    }
  });

  test('hasBlob: 200 with the right size confirms, and nothing else does (I9): the bytes tell', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream);
    const repository = await openRepository(upstream.origin);
    assert.equal(await repository.hasBlob(blob.descriptor, soon()), true);
    assert.equal(await repository.hasBlob({ ...blob.descriptor, size: 999 }, soon()), false);
    const others: Action[] = [
      ...[204, 400, 401, 403, 404, 405, 406, 416, 500, 501, 503].map((status) => ({ status })),
      { reset: true },
      { delayMs: 5_000 },
    ];
    for (const other of others) {
      const undo = upstream.fault(when({}, other));
      assert.equal(await repository.hasBlob(blob.descriptor, soon()), false, JSON.stringify(other));
      undo();
    }
    const limited = upstream.fault(when({}, { status: 429, headers: { 'retry-after': '3600' } }));
    await assert.rejects(repository.hasBlob(blob.descriptor, soon()), RateLimitedError);
    limited();
    let remove = upstream.fault(when({}, { status: 307, headers: { location: 'https://cdn.example.test/x' } }));
    assert.equal(await repository.hasBlob(blob.descriptor, soon()), false);
    remove();
    remove = upstream.fault(when({}, { headers: { 'content-length': '0' } }));
    assert.equal(await repository.hasBlob(blob.descriptor, soon()), true);
    remove();
    upstream.deleteBlob(PATH, blob.descriptor.digest);
    assert.equal(await repository.hasBlob(blob.descriptor, soon()), false);
    const asked = upstream.requests.filter(({ kind }) => kind === 'blob');
    assert.deepEqual(new Set(asked.map(({ method }) => method)), new Set(['HEAD']));
    assert.equal(repository.requests.blob, asked.length);
  });

  test('a consumer that stops, and one that never starts, give the connection back', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 8 * MIB);
    // With one connection a body that is left open would block everything after it.
    const repository = await openRepository(upstream.origin, { settings: { maxConnections: 1 } });
    for await (const chunk of await repository.openBlob(blob.descriptor, 0, soon())) {
      assert.ok(chunk.byteLength > 0);
      break;
    }
    const unread = (await repository.openBlob(blob.descriptor, 0, soon()))[Symbol.asyncIterator]();
    await unread.return?.();
    assert.deepEqual(await unread.next(), { done: true, value: undefined });
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  });

  test('a signal ends the stream with its reason, also between two reads', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 8 * MIB);
    const repository = await openRepository(upstream.origin, { settings: { maxConnections: 1 } });
    const controller = new AbortController();
    const reason = new Error('deadline');
    const chunks = (await repository.openBlob(blob.descriptor, 0, controller.signal))[Symbol.asyncIterator]();
    await chunks.next();
    controller.abort(reason);
    await sleep(20);
    await assert.rejects(
      async () => {
        for (let i = 0; i < 10_000; i++) await chunks.next();
      },
      (error) => error === reason,
    );
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  });

  test('a blob that stands still holds up no short question', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 8 * MIB);
    const repository = await openRepository(upstream.origin, { settings: { maxConnections: 1 } });
    const chunks = (await repository.openBlob(blob.descriptor, 0, soon()))[Symbol.asyncIterator]();
    await chunks.next();
    assert.equal(await repository.hasBlob(blob.descriptor, soon()), true);
    assert.deepEqual(await repository.listTags(soon()), []);
    await chunks.return?.();
  });

  test('connections to one origin are bounded', async () => {
    const upstream = await upstreamForTest();
    const blobs = Array.from({ length: 6 }, () => addBlob(upstream, 1000));
    let now = 0;
    let most = 0;
    upstream.fault(() => {
      now++;
      most = Math.max(most, now);
      setTimeout(() => now--, 30);
      return { delayMs: 30 };
    });
    const repository = await openRepository(upstream.origin, { settings: { maxConnections: 2 } });
    await Promise.all(blobs.map((blob) => readBlob(repository, blob)));
    assert.ok(most <= 2, `${most} at once`);
  });

  test('a slow consumer is no stall', async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream, 4 * MIB);
    const repository = await openRepository(upstream.origin, { limits: { bodyTimeoutMs: 150 } });
    const chunks = (await repository.openBlob(blob.descriptor, 0, soon()))[Symbol.asyncIterator]();
    const first = await chunks.next();
    await sleep(500);
    const rest = await collect({ [Symbol.asyncIterator]: () => chunks });
    assert.equal((first.value as Uint8Array).byteLength + rest.byteLength, blob.bytes.byteLength);
  });
});
