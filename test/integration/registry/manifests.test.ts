import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import {
  ContentMismatchError,
  DeniedError,
  InvalidManifestError,
  ManifestUnknownError,
  RateLimitedError,
  UnknownNameError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { MANIFEST_ACCEPT, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { PUBLIC } from '../../../lib/reference/trust-domain.ts';
import { times, when } from '../../support/upstream/upstream.ts';
import {
  addManifest,
  clientOf,
  LIMITS,
  openRepository,
  PATH,
  REGISTRY,
  soon,
  tagged,
  upstreamForTest,
} from './client-under-test.ts';

// Most of the time is spent waiting for time-outs: side by side it is spent once.
describe('manifests over HTTP', { concurrency: 4 }, () => {
  test('resolve is one HEAD, read is one GET, and both are counted', async () => {
    const upstream = await upstreamForTest();
    const { bytes, descriptor } = addManifest(upstream);
    const repository = await openRepository(upstream.origin);
    assert.equal(repository.domain, PUBLIC);
    const before = Date.now();
    const resolution = await repository.resolve(tagged(), soon());
    assert.equal(resolution.digest, descriptor.digest);
    assert.equal(resolution.manifest, undefined);
    assert.ok(resolution.checkedMs >= before && resolution.checkedMs <= Date.now());
    const manifest = await repository.readManifest(descriptor.digest, soon());
    assert.deepEqual(manifest.descriptor, descriptor);
    assert.deepEqual(Buffer.from(manifest.bytes), bytes);
    assert.deepEqual(repository.requests, { total: 2, ping: 0, token: 0, manifest: 2, blob: 0, redirected: 0 });
    const [head, get] = upstream.requests;
    assert.deepEqual([head?.method, get?.method], ['HEAD', 'GET']);
    for (const { headers } of upstream.requests) {
      assert.equal(headers.accept, MANIFEST_ACCEPT);
      assert.equal(headers['accept-encoding'], 'identity');
      assert.match(headers['user-agent'] ?? '', /^entrepot\/\d/);
      assert.equal(headers.authorization, undefined);
    }
  });

  test('a digest resolves to itself without a request', async () => {
    const upstream = await upstreamForTest();
    const repository = await openRepository(upstream.origin);
    const digest = digestOf(Buffer.from('x'));
    const resolution = await repository.resolve(parseReference(`${REGISTRY}/${PATH}@${digest}`), soon());
    assert.equal(resolution.digest, digest);
    assert.equal(upstream.requests.length, 0);
  });

  for (const [name, action] of [
    ['405', { status: 405 }],
    ['501', { status: 501 }],
    ['no digest', { headers: { 'docker-content-digest': undefined } }],
    [
      'a sha512 digest that is not that of the bytes',
      { headers: { 'docker-content-digest': `sha512:${'a'.repeat(128)}` } },
    ],
    ['a digest that is none', { headers: { 'docker-content-digest': 'latest' } }],
  ] as const) {
    test(`resolve: HEAD with ${name} leads to a GET, and the digest is computed`, async () => {
      const upstream = await upstreamForTest();
      const { bytes, descriptor } = addManifest(upstream);
      upstream.fault(when({ method: 'HEAD' }, action));
      // The header of the GET lies; the bytes decide.
      upstream.fault(when({ method: 'GET' }, { headers: { 'docker-content-digest': digestOf(Buffer.from('lie')) } }));
      const repository = await openRepository(upstream.origin);
      const { digest, manifest } = await repository.resolve(tagged(), soon());
      assert.equal(digest, descriptor.digest);
      assert.deepEqual(manifest?.descriptor, descriptor);
      assert.deepEqual(Buffer.from(manifest.bytes), bytes);
      assert.equal(repository.requests.manifest, 2);
    });
  }

  test('a tag that moves between HEAD and GET: the digest is what was resolved', async () => {
    const upstream = await upstreamForTest();
    const first = addManifest(upstream, 'v1', '{"schemaVersion":2,"n":1}');
    const repository = await openRepository(upstream.origin);
    const { digest } = await repository.resolve(tagged(), soon());
    addManifest(upstream, 'v1', '{"schemaVersion":2,"n":2}');
    assert.equal((await repository.readManifest(digest, soon())).descriptor.digest, first.descriptor.digest);
    // A registry that drops the old one with the tag says 404, which the caller tells from everything else.
    upstream.fault(when({ reference: digest }, { status: 404 }));
    await assert.rejects(repository.readManifest(digest, soon()), ManifestUnknownError);
  });

  test('a wrong manifest is fetched twice and then refused', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    upstream.fault(when({ method: 'GET' }, { body: Buffer.from('{"schemaVersion":2,"evil":true}') }));
    const repository = await openRepository(upstream.origin);
    await assert.rejects(repository.readManifest(descriptor.digest, soon()), ContentMismatchError);
    assert.equal(upstream.count(), 2);
  });

  test('a manifest that is wrong once is right the second time', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    upstream.fault(times(1, when({ method: 'GET' }, { body: Buffer.from('{}') })));
    const repository = await openRepository(upstream.origin);
    assert.deepEqual((await repository.readManifest(descriptor.digest, soon())).descriptor, descriptor);
  });

  test('the media type comes without its parameters', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    upstream.fault(when({}, { headers: { 'content-type': `${OCI_MANIFEST}; charset=utf-8` } }));
    const repository = await openRepository(upstream.origin);
    assert.equal((await repository.readManifest(descriptor.digest, soon())).descriptor.mediaType, OCI_MANIFEST);
  });

  test('a huge manifest is refused by its length, and without a length when it goes on', async () => {
    const upstream = await upstreamForTest();
    const body = Buffer.alloc(LIMITS.manifestBytes * 4, 0x20);
    const digest = upstream.putManifest(PATH, 'v1', body, OCI_MANIFEST) as ReturnType<typeof digestOf>;
    const repository = await openRepository(upstream.origin);
    await assert.rejects(repository.readManifest(digest, soon()), /has 262144 bytes, the limit is 65536/);
    upstream.fault(when({}, { chunked: true, chunkDelayMs: 5 }));
    await assert.rejects(repository.readManifest(digest, soon()), InvalidManifestError);
    assert.equal(upstream.count(), 2);
  });

  test('schema 1 is refused; a manifest that came compressed is read, or it is said', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    const repository = await openRepository(upstream.origin);
    const remove = upstream.fault(
      when(
        {},
        {
          headers: { 'content-type': 'application/vnd.docker.distribution.manifest.v1+prettyjws' },
          body: Buffer.from('{"schemaVersion":1}'),
        },
      ),
    );
    await assert.rejects(repository.readManifest(descriptor.digest, soon()), /schema 1/);
    remove();
    const original = (await repository.readManifest(descriptor.digest, soon())).bytes;
    const packed: [string, Buffer][] = [
      ['gzip', gzipSync(original)],
      ['x-gzip', gzipSync(original)],
      ['br', brotliCompressSync(original)],
      ['deflate', deflateSync(original)],
      ['aws-chunked, gzip', gzipSync(original)],
      ['gzip,identity', gzipSync(original)],
      // Labels of storage that say nothing of the bytes.
      ...['gzip', 'identity', 'utf-8', 'aws-chunked', '', 'UTF-8,'].map((label): [string, Buffer] => [
        label,
        Buffer.from(original),
      ]),
    ];
    for (const [encoding, body] of packed) {
      const undo = upstream.fault(when({ method: 'GET' }, { headers: { 'content-encoding': encoding }, body }));
      assert.deepEqual((await repository.readManifest(descriptor.digest, soon())).bytes, original, encoding);
      const byTag = await repository.resolve(tagged(), soon(), true);
      assert.deepEqual([byTag.digest, byTag.manifest?.bytes], [descriptor.digest, original], encoding);
      undo();
    }
    const bomb = gzipSync(Buffer.alloc(LIMITS.manifestBytes + 1, ' '));
    for (const body of [Buffer.from('no gzip'), bomb]) {
      const undo = upstream.fault(when({ method: 'GET' }, { headers: { 'content-encoding': 'gzip' }, body }));
      await assert.rejects(
        repository.readManifest(descriptor.digest, soon()),
        /compressed \(content-encoding "gzip"\)/,
      );
      undo();
    }
  });

  test('a manifest whose body breaks is asked for again', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    upstream.fault(times(1, when({ method: 'GET' }, { dropAfterBytes: 5 })));
    upstream.fault(times(1, when({ method: 'GET' }, { stallAfterBytes: 5 })));
    const repository = await openRepository(upstream.origin);
    assert.deepEqual((await repository.readManifest(descriptor.digest, soon())).descriptor, descriptor);
    assert.equal(repository.requests.manifest, 3);
  });

  test('404 is unknown; 401, 403, 5xx and resets never are (I6)', async () => {
    const upstream = await upstreamForTest();
    const repository = await openRepository(upstream.origin);
    await assert.rejects(repository.resolve(tagged('absent'), soon()), ManifestUnknownError);
    await assert.rejects(repository.readManifest(digestOf(Buffer.from('absent')), soon()), (error) => {
      return error instanceof ManifestUnknownError && error.message.includes('manifest unknown');
    });
    addManifest(upstream);
    for (const status of [401, 403]) {
      const remove = upstream.fault(when({}, { status }));
      await assert.rejects(repository.resolve(tagged(), soon()), DeniedError);
      remove();
    }
    upstream.fault(when({}, { reset: true }));
    await assert.rejects(repository.resolve(tagged(), soon()), UpstreamUnavailableError);
  });

  test('a storm of 500s passes; a longer one is unavailable after the last attempt', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    const repository = await openRepository(upstream.origin);
    upstream.fault(times(2, when({}, { status: 500 })));
    assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
    assert.equal(repository.requests.total, 3);
    upstream.requests.length = 0;
    upstream.fault(when({}, { status: 502 }));
    await assert.rejects(repository.resolve(tagged(), soon()), UpstreamUnavailableError);
    assert.equal(upstream.count(), LIMITS.attempts);
  });

  test('429 waits as long as it is told, if that is not too long', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    const repository = await openRepository(upstream.origin);
    upstream.fault(times(1, when({}, { status: 429, headers: { 'retry-after': '1' } })));
    const startedMs = Date.now();
    assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
    assert.ok(Date.now() - startedMs >= 1000);
    upstream.requests.length = 0;
    upstream.fault(when({}, { status: 429, headers: { 'retry-after': '3600' } }));
    await assert.rejects(repository.resolve(tagged(), soon()), (error) => {
      return error instanceof RateLimitedError && error.retryAfterMs === 3_600_000;
    });
    assert.equal(upstream.count(), 1);
  });

  test('a 503 that asks for a longer wait than ours is told at once, as unavailable and with the time', async () => {
    const upstream = await upstreamForTest();
    addManifest(upstream);
    upstream.fault(when({}, { status: 503, headers: { 'retry-after': '3600' } }));
    const repository = await openRepository(upstream.origin);
    await assert.rejects(repository.resolve(tagged(), soon()), (error) => {
      return error instanceof UpstreamUnavailableError && error.retryAfterMs === 3_600_000;
    });
    assert.equal(upstream.count(), 2, 'HEAD is a hint, and GET says the same');
  });

  test('429 without Retry-After is rate limited after the last attempt', async () => {
    const upstream = await upstreamForTest();
    addManifest(upstream);
    upstream.fault(when({}, { status: 429 }));
    const repository = await openRepository(upstream.origin);
    await assert.rejects(repository.resolve(tagged(), soon()), RateLimitedError);
    assert.equal(upstream.count(), LIMITS.attempts);
  });

  test('a slow start is tried again, and then timed out', async () => {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    const repository = await openRepository(upstream.origin, { limits: { headersTimeoutMs: 100, attempts: 2 } });
    upstream.fault(times(1, when({}, { delayMs: 1500 })));
    assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
    const impatient = await openRepository(upstream.origin, { limits: { headersTimeoutMs: 100, attempts: 1 } });
    upstream.fault(when({}, { delayMs: 1500 }));
    await assert.rejects(impatient.resolve(tagged(), soon()), (error) => {
      return error instanceof UpstreamUnavailableError && error.timedOut;
    });
  });

  test('an upstream that is not there is unavailable; a signal that fires is thrown as it is', async () => {
    const upstream = await upstreamForTest();
    addManifest(upstream);
    const repository = await openRepository(upstream.origin);
    upstream.fault(when({}, { delayMs: 5000 }));
    const reason = new Error('deadline');
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 50);
    await assert.rejects(repository.resolve(tagged(), controller.signal), (error) => error === reason);
    await upstream.close();
    await assert.rejects(repository.resolve(tagged(), soon()), UpstreamUnavailableError);
  });

  test('what a registry says is shown, bounded and without secrets', async () => {
    const upstream = await upstreamForTest();
    addManifest(upstream);
    const message = `see https://u:p@s.test/a?sig=s3cr3t ${'long '.repeat(50_000)}`;
    const body = Buffer.from(JSON.stringify({ errors: [{ code: 'NAUGHTY', message: 'x\r\ny' }] }));
    upstream.fault(times(1, when({ method: 'GET' }, { status: 400, body })));
    upstream.fault(
      when(
        { method: 'GET' },
        { status: 403, body: Buffer.from(JSON.stringify({ errors: [{ code: 'DENIED', message }] })) },
      ),
    );
    const repository = await openRepository(upstream.origin);
    const digest = digestOf(Buffer.from('x'));
    await assert.rejects(repository.readManifest(digest, soon()), /400 \(NAUGHTY: x y\)/);
    await assert.rejects(repository.readManifest(digest, soon()), (error) => {
      return error instanceof DeniedError && error.message.length < 700 && !error.message.includes('s3cr3t');
    });
  });

  test('registries that are not configured and repositories that are not allowed are not asked', async () => {
    const upstream = await upstreamForTest();
    const upstreams = clientOf(upstream.origin, { settings: { allow: ['team/**', 'library/*'] } });
    await upstreams.open({ registry: REGISTRY, path: 'team/deep/app' });
    await upstreams.open({ registry: REGISTRY, path: 'library/alpine' });
    for (const path of ['other/app', 'library/deep/app', 'teams/app']) {
      await assert.rejects(upstreams.open({ registry: REGISTRY, path }), UnknownNameError);
    }
    await assert.rejects(upstreams.open({ registry: 'other.example.test', path: PATH }), (error) => {
      return (
        error instanceof UnknownNameError &&
        /configured: registry\.example\.test.*write "other\.example\.test", and every other/.test(error.message)
      );
    });
    assert.equal(upstream.count(), 0);
  });
});
