import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import type { GetObjectCommandInput, PutObjectCommandInput } from '@aws-sdk/client-s3';
import type { Case, S3Bench } from './s3-suite-support.ts';
import { crc32Base64, freshKey, noise, refused, sha256 } from './s3-suite-support.ts';

/** Single objects: bytes, checksums, conditions, ranges, deletes, listings. */
export function objectCases(check: Case, bench: S3Bench): void {
  const put = (Key: string, Body: string | Buffer | Readable, more: Partial<PutObjectCommandInput> = {}) =>
    bench.s3.send(new PutObjectCommand({ Bucket: bench.bucket, Key, Body, ...more }));
  const get = (Key: string, more: Partial<GetObjectCommandInput> = {}) =>
    bench.s3.send(new GetObjectCommand({ Bucket: bench.bucket, Key, ...more }));
  const head = (Key: string, more: Partial<GetObjectCommandInput> = {}) =>
    bench.s3.send(new HeadObjectCommand({ Bucket: bench.bucket, Key, ...more }));
  const bytesOf = async (Key: string, more: Partial<GetObjectCommandInput> = {}): Promise<Buffer> =>
    Buffer.from((await (await get(Key, more)).Body?.transformToByteArray()) ?? []);

  check('put and get: bytes, content type, metadata and ETag come back', async () => {
    const key = freshKey();
    const bytes = noise(key, 300_000);
    const { ETag } = await put(key, bytes, { ContentType: 'application/test', Metadata: { domain: 'public' } });
    const { ContentType, ContentLength, Metadata, ETag: headTag, LastModified } = await head(key);
    assert.deepEqual(
      [ContentType, ContentLength, Metadata, headTag],
      ['application/test', bytes.length, { domain: 'public' }, ETag],
    );
    assert.ok(Math.abs((LastModified?.getTime() ?? 0) - Date.now()) < 60_000);
    assert.deepEqual(await bytesOf(key), bytes);
  });

  check('an empty object', async () => {
    const key = freshKey();
    await put(key, Buffer.alloc(0));
    assert.equal((await head(key)).ContentLength, 0);
    assert.equal((await bytesOf(key)).length, 0);
    await refused(get(key, { Range: 'bytes=0-' }), 'InvalidRange');
  });

  check('keys with spaces, signs and non-ASCII letters', async () => {
    for (const name of ['a b+c&d=e', 'ü/日本/😀', "it's (all) [one] ~!$@*,;:", '%41%2F', 'x<y>"z"']) {
      const key = `${freshKey()}/${name}`;
      await put(key, name);
      assert.equal((await bytesOf(key)).toString(), name);
      const { Contents } = await bench.s3.send(new ListObjectsV2Command({ Bucket: bench.bucket, Prefix: key }));
      assert.deepEqual(
        Contents?.map(({ Key }) => Key),
        [key],
      );
    }
  });

  const expected = {
    CRC32: { ChecksumCRC32: crc32Base64(Buffer.from('123456789')) },
    CRC32C: { ChecksumCRC32C: '4waSgw==' },
    SHA1: { ChecksumSHA1: createHash('sha1').update('123456789').digest('base64') },
    SHA256: { ChecksumSHA256: sha256('123456789').toString('base64') },
  } as const;
  for (const [algorithm, checksum] of Object.entries(expected)) {
    check(`${algorithm} of a PUT is verified, kept, and returned where asked for`, async () => {
      const key = freshKey();
      await refused(put(key, '123456780', checksum), 'BadDigest');
      await refused(head(key), 'NotFound');
      await put(key, '123456789', checksum);
      const found = await head(key, { ChecksumMode: 'ENABLED' });
      assert.equal(found.ChecksumType, 'FULL_OBJECT');
      const [[name, value] = ['', '']] = Object.entries(checksum);
      assert.equal(Object.entries(found).find(([field]) => field === name)?.[1], value);
      assert.equal(
        Object.entries(await get(key, { ChecksumMode: 'ENABLED' })).find(([field]) => field === name)?.[1],
        value,
      );
      const unasked = await head(key);
      assert.equal(
        Object.keys(unasked).some((field) => field.startsWith('Checksum')),
        false,
      );
    });
  }

  check('two checksums on one PUT are refused', async () => {
    await refused(put(freshKey(), '123456789', { ...expected.CRC32, ...expected.SHA256 }), 'InvalidRequest');
  });

  check('Content-MD5 is verified', async () => {
    const key = freshKey();
    await refused(put(key, 'x', { ContentMD5: createHash('md5').update('y').digest('base64') }), 'BadDigest');
    await refused(put(key, 'x', { ContentMD5: 'short' }), 'InvalidDigest');
    await refused(head(key), 'NotFound');
    await put(key, 'x', { ContentMD5: createHash('md5').update('x').digest('base64') });
  });

  check('a streamed body with a trailing checksum is stored without its framing', async () => {
    const key = freshKey();
    const bytes = noise(key, 1_000_000);
    await put(key, Readable.from([bytes.subarray(0, 10_007), bytes.subarray(10_007)]), { ContentLength: bytes.length });
    assert.deepEqual(await bytesOf(key), bytes);
    const { ChecksumCRC32, ContentEncoding } = await head(key, { ChecksumMode: 'ENABLED' });
    assert.deepEqual([ChecksumCRC32, ContentEncoding], [crc32Base64(bytes), undefined]);
  });

  check('If-None-Match: * writes once', async () => {
    const key = freshKey();
    await put(key, 'first', { IfNoneMatch: '*' });
    await refused(put(key, 'second', { IfNoneMatch: '*' }), 'PreconditionFailed');
    assert.equal((await bytesOf(key)).toString(), 'first');
  });

  check('exactly one of 16 racing conditional PUTs wins', async () => {
    const key = freshKey();
    const racers = Array.from({ length: 16 }, (_, index) => noise(`${key}-${index}`, 50_000));
    const results = await Promise.allSettled(racers.map((bytes) => put(key, bytes, { IfNoneMatch: '*' })));
    const winners = results.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []));
    assert.equal(winners.length, 1);
    for (const result of results) {
      if (result.status === 'rejected') {
        await refused(Promise.reject(result.reason as Error), 'PreconditionFailed', 'ConditionalRequestConflict');
      }
    }
    assert.deepEqual(await bytesOf(key), racers[winners[0] ?? -1]);
  });

  check('If-Match overwrites what was seen, and nothing else', async () => {
    const key = freshKey();
    await refused(put(key, 'none', { IfMatch: '"0123456789abcdef0123456789abcdef"' }), 'NoSuchKey');
    const { ETag = '' } = await put(key, 'first');
    await put(key, 'second', { IfMatch: ETag });
    await refused(put(key, 'third', { IfMatch: ETag }), 'PreconditionFailed');
    assert.equal((await bytesOf(key)).toString(), 'second');
  });

  check('single ranges, from both ends', async () => {
    const key = freshKey();
    await put(key, '0123456789');
    for (const [Range, body, contentRange] of [
      ['bytes=0-0', '0', 'bytes 0-0/10'],
      ['bytes=3-5', '345', 'bytes 3-5/10'],
      ['bytes=7-', '789', 'bytes 7-9/10'],
      ['bytes=-3', '789', 'bytes 7-9/10'],
      ['bytes=-30', '0123456789', 'bytes 0-9/10'],
      ['bytes=8-100', '89', 'bytes 8-9/10'],
    ] as const) {
      const found = await get(key, { Range });
      assert.deepEqual([await found.Body?.transformToString(), found.ContentRange], [body, contentRange], Range);
      assert.equal(found.$metadata.httpStatusCode, 206);
      assert.equal((await head(key, { Range })).ContentLength, body.length);
    }
    await refused(get(key, { Range: 'bytes=10-' }), 'InvalidRange');
    await refused(get(key, { Range: 'bytes=-0' }), 'InvalidRange');
  });

  check('conditional reads', async () => {
    const key = freshKey();
    const { ETag = '' } = await put(key, 'x');
    await get(key, { IfMatch: ETag });
    await refused(get(key, { IfMatch: '"other"' }), 'PreconditionFailed');
    await notModified(get(key, { IfNoneMatch: ETag }));
    await get(key, { IfNoneMatch: '"other"' });
  });

  check('reads conditional on the time, to the second', async () => {
    const key = freshKey();
    await put(key, 'x');
    const { LastModified = new Date(0) } = await head(key);
    await notModified(get(key, { IfModifiedSince: LastModified }));
    await get(key, { IfUnmodifiedSince: LastModified });
    await get(key, { IfModifiedSince: new Date(LastModified.getTime() - 10_000) });
    await refused(get(key, { IfUnmodifiedSince: new Date(LastModified.getTime() - 10_000) }), 'PreconditionFailed');
  });

  check('what is missing is 404, key and bucket apart', async () => {
    await refused(head(freshKey()), 'NotFound');
    await refused(get(freshKey()), 'NoSuchKey');
    await refused(bench.s3.send(new GetObjectCommand({ Bucket: 'no-such-bucket-here', Key: 'x' })), 'NoSuchBucket');
    await refused(
      bench.s3.send(new PutObjectCommand({ Bucket: 'no-such-bucket-here', Key: 'x', Body: 'x' })),
      'NoSuchBucket',
    );
  });

  check('delete is idempotent', async () => {
    const key = freshKey();
    await put(key, 'x');
    for (let time = 0; time < 2; time++) {
      await bench.s3.send(new DeleteObjectCommand({ Bucket: bench.bucket, Key: key }));
      await refused(head(key), 'NotFound');
    }
  });

  check('delete with If-Match deletes what was seen, and nothing else', async () => {
    const key = freshKey();
    const { ETag = '' } = await put(key, 'first');
    await put(key, 'second');
    const remove = (IfMatch: string) =>
      bench.s3.send(new DeleteObjectCommand({ Bucket: bench.bucket, Key: key, IfMatch }));
    await refused(remove(ETag), 'PreconditionFailed');
    const { ETag: current = '' } = await head(key);
    await remove(current);
    await refused(head(key), 'NotFound');
  });

  check('delete with If-Match of a key that is not there is 404', async () => {
    const where = { Bucket: bench.bucket, Key: freshKey(), IfMatch: '"0123456789abcdef0123456789abcdef"' };
    await refused(bench.s3.send(new DeleteObjectCommand(where)), 'NoSuchKey');
  });

  check('many deletes in one request', async () => {
    const keys = [freshKey('a&b'), freshKey(), freshKey()];
    for (const key of keys) await put(key, 'x');
    const Delete = { Objects: [...keys, freshKey()].map((Key) => ({ Key })) };
    const { Deleted, Errors } = await bench.s3.send(new DeleteObjectsCommand({ Bucket: bench.bucket, Delete }));
    assert.deepEqual([Deleted?.length, Errors?.length ?? 0], [4, 0]);
    for (const key of keys) await refused(head(key), 'NotFound');
  });

  check('what is being read stays whole while it is overwritten and deleted', async () => {
    const key = freshKey();
    const bytes = noise(key, 24 * 1024 * 1024);
    await put(key, bytes);
    const body = (await get(key)).Body as Readable;
    const pieces: Buffer[] = [];
    for await (const piece of body as AsyncIterable<Buffer>) {
      if (pieces.length === 0) {
        await put(key, 'other');
        await bench.s3.send(new DeleteObjectCommand({ Bucket: bench.bucket, Key: key }));
      }
      pieces.push(piece);
    }
    assert.ok(Buffer.concat(pieces).equals(bytes));
  });

  check('listing: prefix, delimiter, start-after, and pages that miss and repeat nothing', async () => {
    const top = freshKey('list');
    const names = ['a', 'b/1', 'b/2', 'b/3/x', 'c', 'd-ü', 'd/1', 'é'].map((name) => `${top}/${name}`);
    for (const name of names) await put(name, 'x');
    const list = async (MaxKeys: number, more: { Delimiter?: string; StartAfter?: string } = {}) => {
      const found: { keys: string[]; prefixes: string[] } = { keys: [], prefixes: [] };
      let ContinuationToken: string | undefined;
      for (let page = 0; page < 20; page++) {
        const answer = await bench.s3.send(
          new ListObjectsV2Command({
            Bucket: bench.bucket,
            Prefix: `${top}/`,
            MaxKeys,
            ...(ContinuationToken === undefined ? more : { Delimiter: more.Delimiter, ContinuationToken }),
          }),
        );
        assert.ok((answer.KeyCount ?? 0) <= MaxKeys);
        found.keys.push(...(answer.Contents ?? []).map(({ Key = '' }) => Key.slice(top.length + 1)));
        found.prefixes.push(...(answer.CommonPrefixes ?? []).map(({ Prefix = '' }) => Prefix.slice(top.length + 1)));
        ContinuationToken = answer.NextContinuationToken;
        assert.equal(answer.IsTruncated, ContinuationToken !== undefined);
        if (ContinuationToken === undefined) break;
      }
      return found;
    };
    for (const pageSize of [1, 2, 4, 1000]) {
      const all = await list(pageSize);
      assert.deepEqual(all, { keys: ['a', 'b/1', 'b/2', 'b/3/x', 'c', 'd-ü', 'd/1', 'é'], prefixes: [] });
      const folded = await list(pageSize, { Delimiter: '/' });
      assert.deepEqual(folded, { keys: ['a', 'c', 'd-ü', 'é'], prefixes: ['b/', 'd/'] });
    }
    assert.deepEqual((await list(3, { StartAfter: `${top}/b/2` })).keys, ['b/3/x', 'c', 'd-ü', 'd/1', 'é']);
  });

  check('a key may be the beginning of another', async () => {
    const key = freshKey();
    for (const name of [key, `${key}/`, `${key}/a`, `${key}//b`]) await put(name, name);
    for (const name of [key, `${key}/`, `${key}/a`, `${key}//b`]) assert.equal((await bytesOf(name)).toString(), name);
  });
}

async function notModified(attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error: { $metadata?: { httpStatusCode?: number } }) => {
    assert.equal(error.$metadata?.httpStatusCode, 304);
    return true;
  });
}
