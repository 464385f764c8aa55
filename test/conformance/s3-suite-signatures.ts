import assert from 'node:assert/strict';
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { Case, RawRequest, S3Bench } from './s3-suite-support.ts';
import {
  chunkedBody,
  clientOf,
  crc32Base64,
  freshKey,
  noise,
  refused,
  refusedRaw,
  send,
  sha256,
  sign,
} from './s3-suite-support.ts';

const SIGNED_CHUNKS = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
const SIGNED_CHUNKS_TRAILER = `${SIGNED_CHUNKS}-TRAILER`;
const UNSIGNED_TRAILER = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';

/** Who may ask, by header, by presigned URL, and chunk by chunk. */
export function signatureCases(check: Case, bench: S3Bench): void {
  const store = async (text: string): Promise<string> => {
    const key = freshKey();
    await bench.s3.send(
      new PutObjectCommand({ Bucket: bench.bucket, Key: key, Body: text, ContentType: 'text/plain' }),
    );
    return key;
  };
  const read = async (key: string): Promise<Buffer> => {
    const { Body } = await bench.s3.send(new GetObjectCommand({ Bucket: bench.bucket, Key: key }));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  };
  const rawPut = (body: Buffer, more: Partial<RawRequest> = {}): RawRequest => {
    return { method: 'PUT', path: `/${bench.bucket}/${freshKey()}`, body, ...more };
  };
  const keyOf = ({ path }: RawRequest): string => path.slice(bench.bucket.length + 2);

  const askAs = async (accessKeyId: string): Promise<void> => {
    const client = clientOf(bench.server, { accessKeyId, secretAccessKey: 'wrong' });
    try {
      await client.send(new GetObjectCommand({ Bucket: bench.bucket, Key: freshKey() }));
    } finally {
      client.destroy();
    }
  };

  check('an unknown key is refused', () => refused(askAs('nobody'), 'InvalidAccessKeyId'));

  check('a wrong secret and no signature are refused', async () => {
    const key = await store('x');
    await refused(askAs(bench.server.accessKeyId), 'SignatureDoesNotMatch');
    await refusedRaw(await fetch(`${bench.server.endpoint}/${bench.bucket}/${key}`), 403, 'AccessDenied');
  });

  check('a clock more than 15 minutes off is refused', async () => {
    const path = `/${bench.bucket}/${await store('x')}`;
    const at = (seconds: number) => send(bench.server, { method: 'GET', path, atMs: Date.now() + seconds * 1000 });
    for (const seconds of [-24 * 3600, -905, 905, 24 * 3600]) {
      await refusedRaw(await at(seconds), 403, 'RequestTimeTooSkewed');
    }
    for (const seconds of [-885, -600, 600, 885]) assert.equal((await at(seconds)).status, 200, `${seconds} s`);
  });

  check('a signature that is 16 minutes old writes nothing', async () => {
    const old = rawPut(Buffer.from('late'), { atMs: Date.now() - 16 * 60_000 });
    await refusedRaw(await send(bench.server, old), 403, 'RequestTimeTooSkewed');
    await refused(read(keyOf(old)), 'NoSuchKey');
  });

  check('another region is refused', async () => {
    const path = `/${bench.bucket}/${await store('x')}`;
    await refusedRaw(
      await send(bench.server, { method: 'GET', path, region: 'eu-nowhere-9' }),
      400,
      'AuthorizationHeaderMalformed',
    );
  });

  check('a changed path, an unsigned header and a malformed authorization are refused', async () => {
    const [key, other] = [await store('x'), await store('y')];
    const request: RawRequest = { method: 'GET', path: `/${bench.bucket}/${key}` };
    const signed = sign(bench.server, request);
    await refusedRaw(
      await send(bench.server, { ...request, path: `/${bench.bucket}/${other}` }, signed),
      403,
      'SignatureDoesNotMatch',
    );
    const broken = { ...signed, headers: { ...signed.headers, authorization: 'AWS4-HMAC-SHA256 nonsense' } };
    await refusedRaw(await send(bench.server, request, broken), 400, 'AuthorizationHeaderMalformed');
  });

  check('an x-amz header that is not signed is refused', async () => {
    const request: RawRequest = { method: 'GET', path: `/${bench.bucket}/${await store('x')}` };
    const signed = sign(bench.server, request);
    const added = { ...signed, headers: { ...signed.headers, 'x-amz-checksum-mode': 'ENABLED' } };
    await refusedRaw(await send(bench.server, request, added), 403, 'AccessDenied');
  });

  check('a body that is not what was signed is refused', async () => {
    const request = rawPut(Buffer.from('real'));
    const signed = sign(bench.server, request);
    await refusedRaw(
      await send(bench.server, { ...request, body: Buffer.from('fake') }, signed),
      400,
      'XAmzContentSHA256Mismatch',
    );
    await refused(read(keyOf(request)), 'NoSuchKey');
    const unsigned = rawPut(Buffer.from('any'), { payload: 'UNSIGNED-PAYLOAD' });
    assert.equal((await send(bench.server, unsigned)).status, 200);
    await refusedRaw(
      await send(bench.server, rawPut(Buffer.from('x'), { payload: 'nonsense' })),
      400,
      'InvalidArgument',
    );
  });

  check('a presigned GET gives the object, ranges of it, and response headers by request', async () => {
    const key = await store('0123456789');
    const command = new GetObjectCommand({
      Bucket: bench.bucket,
      Key: key,
      ResponseContentType: 'application/vnd.test+json',
      ResponseCacheControl: 'no-store',
      ResponseContentDisposition: 'attachment; filename="a b"',
    });
    const url = await getSignedUrl(bench.s3, command, { expiresIn: 60 });
    const whole = await fetch(url);
    assert.deepEqual([whole.status, await whole.text()], [200, '0123456789']);
    assert.deepEqual(
      ['content-type', 'cache-control', 'content-disposition'].map((name) => whole.headers.get(name)),
      ['application/vnd.test+json', 'no-store', 'attachment; filename="a b"'],
    );
    const part = await fetch(url, { headers: { range: 'bytes=2-4' } });
    assert.deepEqual([part.status, await part.text(), part.headers.get('content-range')], [206, '234', 'bytes 2-4/10']);
    assert.equal((await fetch(url, { method: 'HEAD' })).status, 403);
    await refusedRaw(await fetch(`${url}&response-expires=0`), 403, 'SignatureDoesNotMatch');
    await refusedRaw(
      await fetch(url.replace(/Signature=(.)/, (_, digit) => `Signature=${digit === '0' ? '1' : '0'}`)),
      403,
      'SignatureDoesNotMatch',
    );
  });

  check('a presigned HEAD and a presigned PUT', async () => {
    const key = await store('0123456789');
    const head = await fetch(await getSignedUrl(bench.s3, new HeadObjectCommand({ Bucket: bench.bucket, Key: key })), {
      method: 'HEAD',
    });
    assert.deepEqual([head.status, head.headers.get('content-length')], [200, '10']);
    const client = clientOf(bench.server);
    client.config.requestChecksumCalculation = () => Promise.resolve('WHEN_REQUIRED');
    const put = await getSignedUrl(client, new PutObjectCommand({ Bucket: bench.bucket, Key: `${key}-put` }));
    assert.equal((await fetch(put, { method: 'PUT', body: 'presigned' })).status, 200);
    assert.equal((await read(`${key}-put`)).toString(), 'presigned');
  });

  check('a checksum in the query of a presigned PUT is refused', async () => {
    const body = Buffer.from('presigned');
    for (const checksum of [
      { ChecksumSHA256: sha256(body).toString('base64') },
      { ChecksumCRC32: crc32Base64(body) },
      { ChecksumSHA256: sha256('other').toString('base64') },
      { ChecksumAlgorithm: 'SHA256' },
    ] as const) {
      const key = freshKey();
      const url = await getSignedUrl(bench.s3, new PutObjectCommand({ Bucket: bench.bucket, Key: key, ...checksum }));
      assert.match(url, /checksum/i);
      const answer = await fetch(url, { method: 'PUT', body: new Uint8Array(body) });
      await refusedRaw(answer, 400, 'InvalidRequest');
      await refused(read(key), 'NoSuchKey');
    }
  });

  check('an expired presigned URL is refused', async () => {
    const command = new GetObjectCommand({ Bucket: bench.bucket, Key: await store('x') });
    const signingDate = new Date(Date.now() - 120_000);
    const url = await getSignedUrl(bench.s3, command, { expiresIn: 60, signingDate });
    await refusedRaw(await fetch(url), 403, 'AccessDenied');
    assert.equal((await fetch(await getSignedUrl(bench.s3, command, { expiresIn: 300, signingDate }))).status, 200);
  });

  const bytes = noise('chunks', 200_000);
  const cutAt = (...cuts: number[]): Buffer[] => [0, ...cuts].map((from, index) => bytes.subarray(from, cuts[index]));
  const trailer = ['x-amz-checksum-crc32', crc32Base64(bytes)] as const;
  /** Frames the chunks after the headers are signed: the first chunk's signature hangs on theirs. */
  const putChunks = async (
    payload: string,
    more: { trailer?: readonly [string, string]; spoil?: (body: Buffer) => Buffer; length?: number; chunks?: Buffer[] },
  ) => {
    const request = rawPut(Buffer.alloc(0), {
      payload,
      headers: {
        'content-encoding': 'aws-chunked',
        'x-amz-decoded-content-length': String(more.length ?? bytes.length),
        ...(more.trailer && { 'x-amz-trailer': more.trailer[0] }),
      },
    });
    const signed = sign(bench.server, request);
    const { chunks = cutAt(65_536, 131_072) } = more;
    const body = chunkedBody({
      chunks,
      ...(more.trailer && { trailer: more.trailer }),
      ...(payload !== UNSIGNED_TRAILER && { signed }),
    });
    return {
      key: keyOf(request),
      response: await send(bench.server, { ...request, body: more.spoil?.(body) ?? body }, signed),
    };
  };

  check('aws-chunked bodies are taken apart: signed, signed with trailer, unsigned with trailer', async () => {
    for (const [payload, more] of [
      [SIGNED_CHUNKS, {}],
      [SIGNED_CHUNKS_TRAILER, { trailer }],
      [UNSIGNED_TRAILER, { trailer }],
    ] as const) {
      const { key, response } = await putChunks(payload, more);
      assert.equal(response.status, 200, `${payload}: ${await response.text()}`);
      assert.ok((await read(key)).equals(bytes), payload);
    }
  });

  check('a chunk of less than 8 KiB is refused, but for the last', async () => {
    const { response } = await putChunks(UNSIGNED_TRAILER, { trailer, chunks: cutAt(8191) });
    await refusedRaw(response, 400, 'InvalidChunkSizeError');
    const small = await putChunks(UNSIGNED_TRAILER, { trailer, chunks: cutAt(8192, 199_999) });
    assert.equal(small.response.status, 200);
  });

  check('a wrong trailing checksum is refused', async () => {
    const wrong = [trailer[0], crc32Base64(Buffer.from('other'))] as const;
    for (const payload of [SIGNED_CHUNKS_TRAILER, UNSIGNED_TRAILER]) {
      const { key, response } = await putChunks(payload, { trailer: wrong });
      await refusedRaw(response, 400, 'BadDigest');
      await refused(read(key), 'NoSuchKey');
    }
  });

  check('a chunk changed on its way is refused', async () => {
    const spoil = (body: Buffer): Buffer => {
      body.writeUInt8(body.readUInt8(100_000) ^ 1, 100_000);
      return body;
    };
    for (const [payload, more] of [
      [SIGNED_CHUNKS, {}],
      [SIGNED_CHUNKS_TRAILER, { trailer }],
    ] as const) {
      const { key, response } = await putChunks(payload, { ...more, spoil });
      await refusedRaw(response, 403, 'SignatureDoesNotMatch');
      await refused(read(key), 'NoSuchKey');
    }
  });

  check('a chunked body of another length than announced is refused', async () => {
    const { key, response } = await putChunks(UNSIGNED_TRAILER, { trailer, length: bytes.length + 1 });
    await refusedRaw(response, 400, 'IncompleteBody');
    await refused(read(key), 'NoSuchKey');
  });

  check('a chunked body cut off before its end is refused', async () => {
    const { key, response } = await putChunks(UNSIGNED_TRAILER, { trailer, spoil: (body) => body.subarray(0, -40) });
    assert.ok(response.status >= 400 && response.status < 500, String(response.status));
    await refused(read(key), 'NoSuchKey');
  });
}
