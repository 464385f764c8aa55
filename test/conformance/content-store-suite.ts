import { PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { ContentLostError, ContentMismatchError, StoreError } from '../../lib/errors/cache-error.ts';
import { digestOf } from '../../lib/oci/digest.ts';
import { PUBLIC } from '../../lib/reference/trust-domain.ts';
import { crc32Base64, sha256Base64 } from '../../lib/store/checksums.ts';
import { blobObjectKey } from '../../lib/store/keys.ts';
import { TOMBSTONE_MS } from '../../lib/store/ref-record.ts';
import {
  chunksOf,
  descriptorOf,
  DOMAIN,
  ingest,
  MIB,
  PART_BYTES,
  sha256Of,
  someContent,
  storeOn,
  until,
  WINDOW_PARTS,
  type S3Endpoint,
  type StoreUnderTest,
} from '../support/store-under-test.ts';
import { contentStoreEndings } from './content-store-endings.ts';
import { contentStoreFaults } from './content-store-faults.ts';
import { contentStoreResume } from './content-store-resume.ts';
import { contentStoreSha512 } from './content-store-sha512.ts';

const { signal } = new AbortController();

/** What any content store on S3 must do, embedded or real. `make` starts the server, and is called once. */
export function contentStoreSuite(name: string, make: () => Promise<S3Endpoint>): void {
  describe(`content store on ${name}`, () => {
    let server: S3Endpoint;
    let it: StoreUnderTest;
    before(async () => {
      server = await make();
      it = await storeOn(server);
    });
    after(async () => {
      await it[Symbol.asyncDispose]();
      await server.close();
    });
    const subject = (): StoreUnderTest => it;
    findReadPut(subject);
    ingests(subject);
    mismatches(subject);
    conditional(subject);
    contentStoreEndings(subject);
    contentStoreResume(subject);
    contentStoreSha512(subject);
    refRecords(subject);
    presigned(subject);
    contentStoreFaults(subject);
  });
}

function presigned(subject: () => StoreUnderTest): void {
  test('a presigned URL gives the blob to anybody, in ranges too, as the type that was asked for', async () => {
    const { store, presigner } = subject();
    const { content, bytes } = someContent(10_000);
    await store.put(content, bytes, PUBLIC, signal);
    const contentType = 'application/vnd.oci.image.manifest.v1+json';
    const url = await presigner().presign(content.digest, { lifetimeSeconds: 60, contentType });
    const whole = await fetch(url);
    assert.deepEqual([whole.status, whole.headers.get('content-type')], [200, contentType]);
    assert.ok(Buffer.from(await whole.arrayBuffer()).equals(bytes));
    const part = await fetch(url, { headers: { range: 'bytes=9000-' } });
    assert.equal(part.status, 206);
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(9_000)));
    // For GET alone, for this blob alone, and nothing in it may be changed.
    assert.equal((await fetch(url, { method: 'HEAD' })).status, 403);
    for (const [from, to] of [
      [content.digest.slice(7), 'f'.repeat(64)],
      ['X-Amz-Expires=60', 'X-Amz-Expires=600'],
      [encodeURIComponent(contentType), 'text%2Fhtml'],
    ] as const) {
      const changed = await fetch(url.href.replace(from, to));
      assert.equal(changed.status, 403, from);
    }
  });

  test('a presigned URL is over with its time, and with the credentials that signed it', async () => {
    const { store, presigner } = subject();
    const { content, bytes } = someContent(100);
    await store.put(content, bytes, PUBLIC, signal);
    const soon = new Date(Date.now() + 5_900);
    const url = await presigner(soon).presign(content.digest, { lifetimeSeconds: 600 });
    assert.equal(url.searchParams.get('X-Amz-Expires'), '5');
    const short = await presigner().presign(content.digest, { lifetimeSeconds: 1 });
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const late = await fetch(short);
    assert.equal(late.status, 403);
    await late.arrayBuffer();
  });
}

function findReadPut(subject: () => StoreUnderTest): void {
  test('finds nothing where nothing is', async () => {
    assert.equal(await subject().store.find(digestOf(randomBytes(8)), signal), undefined);
  });

  for (const size of [0, 1, 70_000]) {
    test(`puts, finds and reads ${size} bytes`, async () => {
      const { store } = subject();
      const { content, bytes } = someContent(size);
      // Zero bytes are always the same content, which an earlier test may have stored.
      const stored = await store.put(content, bytes, DOMAIN, signal);
      const found = await store.find(content.digest, signal);
      assert.equal(found?.size, size);
      assert.equal(found.etag, stored.etag);
      assert.equal(found.sha256, sha256Base64(content.digest));
      assert.equal(found.domain, DOMAIN);
      assert.deepEqual(Buffer.from(await store.read(content, size, signal)), bytes);
      assert.deepEqual(await store.put(content, bytes, PUBLIC, signal), found, 'the first writer stays');
    });
  }

  test('refuses to put bytes that are not the content', async () => {
    const { store } = subject();
    const { content, bytes } = someContent(100);
    const other = randomBytes(100);
    await assert.rejects(store.put(content, bytes.subarray(1), PUBLIC, signal), ContentMismatchError);
    await assert.rejects(store.put(content, other, PUBLIC, signal), ContentMismatchError);
    assert.equal(await store.find(content.digest, signal), undefined);
  });

  test('read says that content is lost: gone, of another size, of other bytes', async () => {
    const { store, direct, bucket } = subject();
    const { content } = someContent(100);
    await assert.rejects(store.read(content, 100, signal), ContentLostError);
    for (const wrong of [randomBytes(99), randomBytes(100)]) {
      const key = blobObjectKey(content.digest);
      await direct.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: wrong }));
      await assert.rejects(store.read(content, 100, signal), ContentLostError);
    }
  });

  test('read is bounded before anything is asked', async () => {
    const { store, proxy } = subject();
    const { content } = someContent(101);
    const before = proxy.log.length;
    await assert.rejects(store.read(content, 100, signal), StoreError);
    assert.equal(proxy.log.length, before);
  });
}

function ingests(subject: () => StoreUnderTest): void {
  test('small content goes by one conditional PUT, whatever its chunks', async () => {
    const { store, proxy } = subject();
    for (const chunkSizes of [[1], [1, 700, 64], [100_000]]) {
      const { content, bytes } = someContent(3_000);
      const before = proxy.log.length;
      const stored = await ingest(store, content, bytes, ...chunkSizes);
      assert.deepEqual(await store.find(content.digest, signal), stored);
      assert.deepEqual(Buffer.from(await store.read(content, 3_000, signal)), bytes);
      const [put] = proxy.log.slice(before);
      assert.equal(put?.method, 'PUT');
      assert.equal(put.headers['if-none-match'], '*');
      assert.equal(put.headers['x-amz-checksum-sha256'], sha256Base64(content.digest));
      assert.equal(proxy.log.length, before + 3);
    }
  });

  test('zero bytes can be ingested', async () => {
    const { store } = subject();
    const { content, bytes } = someContent(0);
    const stored = await ingest(store, content, bytes);
    assert.equal(stored.size, 0);
    assert.equal((await store.read(content, 0, signal)).byteLength, 0);
  });

  for (const [size, parts] of [
    [PART_BYTES, 0],
    [PART_BYTES + 1, 2],
    [2 * PART_BYTES, 2],
  ] as const) {
    test(`${size} bytes go up in ${parts} parts`, async () => {
      const { store, proxy, bytesAt } = subject();
      const { content, bytes } = someContent(size);
      const before = proxy.log.length;
      await ingest(store, content, bytes, 300_000);
      assert.equal(sha256Of(await bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
      const sent = proxy.log.slice(before).filter((request) => request.path.includes('partNumber='));
      assert.equal(sent.length, parts);
    });
  }

  test('large content goes up in parts while it comes, in order whatever its chunks, with a CRC-32 of the whole', async () => {
    const { store, bytesAt, openUploads } = subject();
    const { content, bytes } = someContent(17 * MIB + 12_345);
    const stored = await ingest(store, content, bytes, 1, 65_536, 12 * MIB, 999);
    const found = await store.find(content.digest, signal);
    assert.deepEqual(found, stored);
    assert.equal(found.crc32, crc32Base64(crc32(bytes)));
    assert.equal(found.sha256, undefined);
    assert.equal(found.domain, DOMAIN);
    assert.equal(sha256Of(await bytesAt(blobObjectKey(content.digest))), sha256Of(bytes));
    assert.equal(await openUploads(), 0);
  });

  test('holds no more parts than the window, the one being filled included', async () => {
    const { store, proxy } = subject();
    const { content, bytes } = someContent(6 * PART_BYTES);
    const gate = Promise.withResolvers<undefined>();
    const rule = { path: /partNumber=/, times: Infinity, action: { kind: 'hold', until: gate.promise } } as const;
    proxy.rules.push(rule);
    const before = proxy.log.length;
    await using upload = await store.begin(content, DOMAIN, signal);
    let written = 0;
    const writing = (async () => {
      for (const chunk of chunksOf(bytes, MIB)) {
        await upload.write(chunk);
        written += chunk.byteLength;
      }
    })();
    const parts = (): number => proxy.log.slice(before).filter((r) => r.path.includes('partNumber=')).length;
    await until(() => parts() === WINDOW_PARTS);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(parts(), WINDOW_PARTS);
    assert.equal(written, WINDOW_PARTS * PART_BYTES, 'the writer waits');
    gate.resolve(undefined);
    await writing;
    await upload.commit();
    proxy.rules.splice(proxy.rules.indexOf(rule), 1);
    const events = proxy.log
      .slice(before)
      .filter((request) => request.path.includes('partNumber='))
      .flatMap((request) => [
        { atMs: request.startedMs, change: 1 },
        { atMs: request.endedMs ?? Infinity, change: -1 },
      ])
      .sort((one, other) => one.atMs - other.atMs || one.change - other.change);
    let open = 0;
    for (const event of events) {
      open += event.change;
      assert.ok(open <= WINDOW_PARTS);
    }
    assert.equal(events.length, 12);
  });
}

function mismatches(subject: () => StoreUnderTest): void {
  for (const size of [10_000, 2 * PART_BYTES + 10_000]) {
    test(`${size} bytes with a wrong byte, too few or too many: refused, invisible, no upload left`, async () => {
      const { store, openUploads } = subject();
      const { content, bytes } = someContent(size);
      const wrong = Buffer.from(bytes);
      wrong[size - 1] = (wrong[size - 1] ?? 0) ^ 1;
      const long = Buffer.concat([bytes, Buffer.of(0)]);
      for (const bad of [wrong, bytes.subarray(0, size - 1), long, Buffer.alloc(0)]) {
        await assert.rejects(ingest(store, content, bad, 1_000_000), ContentMismatchError);
        assert.equal(await store.find(content.digest, signal), undefined);
        assert.equal(await openUploads(), 0);
      }
    });
  }

  test('a byte too many is refused when it comes, not at the end', async () => {
    const { content, bytes } = someContent(1_000);
    await using upload = await subject().store.begin(content, DOMAIN, signal);
    await upload.write(bytes);
    await assert.rejects(upload.write(Buffer.of(1)), ContentMismatchError);
  });
}

function conditional(subject: () => StoreUnderTest): void {
  for (const size of [50_000, PART_BYTES + 50_000]) {
    test(`8 ingests of the same ${size} bytes all succeed with one object`, async () => {
      const { store, openUploads, keys } = subject();
      const { content, bytes } = someContent(size);
      const stored = await Promise.all(Array.from({ length: 8 }, () => ingest(store, content, bytes, 200_000)));
      assert.equal(new Set(stored.map(({ etag }) => etag)).size, 1);
      assert.equal((await keys()).filter((key) => key === blobObjectKey(content.digest)).length, 1);
      assert.equal(await openUploads(), 0);
    });

    test(`wrong content of ${size} bytes under the key is replaced`, async () => {
      const { store, direct, bucket, bytesAt, openUploads } = subject();
      const { content, bytes } = someContent(size);
      for (const wrong of [randomBytes(size), randomBytes(10)]) {
        const key = blobObjectKey(content.digest);
        await direct.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: wrong }));
        await ingest(store, content, bytes, 200_000);
        assert.equal(sha256Of(await bytesAt(key)), sha256Of(bytes));
        assert.equal(await openUploads(), 0);
      }
    });

    test(`right content of ${size} bytes that another writer stored stays, whatever checksum it has`, async () => {
      const { store, direct, bucket, openUploads } = subject();
      const { content, bytes } = someContent(size);
      const other = new PutObjectCommand({
        Bucket: bucket,
        Key: blobObjectKey(content.digest),
        Body: bytes,
        ChecksumAlgorithm: size === 50_000 ? 'CRC32C' : 'SHA256',
      });
      const { ETag: etag } = await direct.send(other);
      assert.equal((await ingest(store, content, bytes, 200_000)).etag, etag);
      assert.equal((await store.find(content.digest, signal))?.etag, etag);
      assert.equal(await openUploads(), 0);
    });
  }
}

function refRecords(subject: () => StoreUnderTest): void {
  test('ref records are written, and overwritten', async () => {
    const { refs, bytesAt } = subject();
    const record = {
      reference: '[::1]:5000/team/app:v1',
      ...descriptorOf(Buffer.from('{}')),
      complete: [digestOf(Buffer.from('child'))],
      publishedMs: 1,
      generation: 1,
    };
    const reference = { registry: '[::1]:5000', path: 'team/app', pointer: 'v1' };
    for (const generation of [1, 2]) {
      await refs.write(reference, { ...record, generation }, signal);
      const read: unknown = JSON.parse((await bytesAt('refs/!5B!3A!3A1!5D!3A5000/team/app/v1.json')).toString());
      assert.deepEqual(read, { ...record, generation });
    }
    await refs.write({ ...reference, pointer: `@${record.digest}` }, record, signal);
    const key = `refs/!5B!3A!3A1!5D!3A5000/team/app/!40sha256!3A${record.digest.slice(7)}.json`;
    assert.equal((await bytesAt(key)).byteLength > 0, true);
  });

  const recordAt = (generation: number, incarnation?: number, publishedMs = 1) => ({
    reference: 'registry.example.test/team/app:v1',
    ...descriptorOf(Buffer.from('{}')),
    complete: [],
    publishedMs,
    generation,
    ...(incarnation === undefined ? {} : { incarnation }),
  });
  const removalAt = (generation: number, incarnation: number, removedMs = Date.now()) => ({
    reference: 'registry.example.test/team/app:v1',
    removedMs,
    incarnation,
    generation,
  });
  const longAgoMs = Date.now() - TOMBSTONE_MS - 60_000;
  const orders = [
    { name: 'the next generation', first: recordAt(1, 1, 9_000), second: recordAt(2, 1), isNewer: true },
    { name: 'an older generation', first: recordAt(2, 1), second: recordAt(1, 1, 9_000), isNewer: false },
    { name: 'the next incarnation', first: recordAt(7, 1, 9_000), second: recordAt(1, 2), isNewer: true },
    { name: 'an older incarnation', first: recordAt(1, 2), second: recordAt(7, 1, 9_000), isNewer: false },
    { name: 'what an older version wrote', first: recordAt(7), second: recordAt(1, 1), isNewer: true },
    { name: 'the same', first: recordAt(1, 1), second: recordAt(1, 1), isNewer: true },
    { name: 'another of the same order', first: recordAt(1, 1), second: recordAt(1, 1, 9_000), isNewer: false },
    { name: 'the removal of it', first: recordAt(2, 1), second: removalAt(2, 1), isNewer: true },
    { name: 'an older removal', first: recordAt(2, 1), second: removalAt(1, 1), isNewer: false },
    { name: 'what was removed', first: removalAt(2, 1), second: recordAt(2, 1), isNewer: false },
    { name: 'what was published after a removal', first: removalAt(2, 1), second: recordAt(3, 1), isNewer: true },
    { name: 'over a removal of long ago', first: removalAt(7, 1, longAgoMs), second: recordAt(1, 1), isNewer: true },
  ];
  for (const [i, { name, first, second, isNewer }] of orders.entries()) {
    test(`a record is replaced by what is newer, by incarnation and generation: ${name}`, async () => {
      const { refs, bytesAt } = subject();
      const at = { registry: 'registry.example.test', path: 'order', pointer: `v${i}` };
      assert.equal(await refs.write(at, first, signal), true);
      assert.equal(await refs.write(at, second, signal), isNewer);
      const there: unknown = JSON.parse((await bytesAt(`refs/registry.example.test/order/v${i}.json`)).toString());
      assert.deepEqual(there, isNewer ? second : first);
      const live = isNewer ? second : first;
      assert.deepEqual(await refs.find(at, signal), 'removedMs' in live ? undefined : live);
    });
  }

  test('a tombstone is forgotten when it is older than any writer lives, and nothing else is', async () => {
    const { refs } = subject();
    const entries = { live: recordAt(1, 1), young: removalAt(1, 1), old: removalAt(1, 1, longAgoMs) };
    for (const [pointer, entry] of Object.entries(entries)) {
      await refs.write({ registry: 'registry.example.test', path: 'forget', pointer }, entry, signal);
    }
    const keys = async () => {
      const all = (await Array.fromAsync(refs.list(signal))).map(({ key }) => key);
      return all.filter((key) => key.includes('/forget/'));
    };
    for (const key of await keys()) await refs.forget(key, signal);
    assert.deepEqual(
      await keys(),
      ['live', 'young'].map((name) => `refs/registry.example.test/forget/${name}.json`),
    );
  });

  test('each table gets an incarnation of its own, higher than all before; the object is no record', async () => {
    const { refs } = subject();
    const raised = await Promise.all([0, 0, 0].map((above) => refs.raiseIncarnation(above, signal)));
    assert.equal(new Set(raised).size, 3);
    const above = Math.max(...raised) + 10;
    assert.equal(await refs.raiseIncarnation(above, signal), above + 1);
    assert.equal(await refs.raiseIncarnation(0, signal), above + 2);
    const keys = (await Array.fromAsync(refs.list(signal))).map(({ key }) => key);
    assert.equal(keys.includes('refs/incarnation.json'), false);
  });
}
