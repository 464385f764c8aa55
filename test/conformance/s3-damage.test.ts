import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  type CompletedPart,
  type S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { BLOCK_BYTES } from '../../infra/local/s3/block-sums.ts';
import { deletionsFile, type Deletion } from '../../infra/local/s3/deletions.ts';
import { startS3, type S3Endpoint } from '../../infra/local/s3/server.ts';
import { DAMAGES, filesOf, type Damage } from '../support/damage.ts';
import { clientOf, freshKey, noise, refused } from './s3-suite-support.ts';

const keys = { region: 'us-east-1', accessKeyId: 'suite', secretAccessKey: 'suite-secret' };
const Bucket = 'damaged';
/** Beyond what HEAD reads. */
const LARGE = 64 * 1024 + 1;
const PART_BYTES = 5 * 1024 * 1024;

/** What the embedded endpoint does when its files are damaged behind its back. Real servers have other files. */
describe('a damaged file of the embedded S3', () => {
  let root: string;
  let server: S3Endpoint;
  let s3: S3Client;
  const open = async (): Promise<void> => {
    server = await startS3({ root, ...keys });
    s3 = clientOf({ ...server, ...keys });
  };
  const close = async (): Promise<void> => {
    s3.destroy();
    await server.close();
  };
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'entrepot-s3-damage-'));
    await open();
    await s3.send(new CreateBucketCommand({ Bucket }));
  });
  after(async () => {
    await close();
    await rm(root, { recursive: true, force: true });
  });

  const put = async (size: number, key = freshKey()): Promise<{ Key: string; bytes: Buffer }> => {
    const bytes = noise(key, size);
    await s3.send(new PutObjectCommand({ Bucket, Key: key, Body: bytes }));
    return { Key: key, bytes };
  };
  const begin = async (): Promise<{ Key: string; UploadId: string }> => {
    const Key = freshKey();
    const { UploadId = '' } = await s3.send(
      new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: 'CRC32' }),
    );
    return { Key, UploadId };
  };
  const upload = async (where: { Key: string; UploadId: string }, PartNumber: number, Body: Buffer) => {
    const { ETag, ChecksumCRC32 } = await s3.send(new UploadPartCommand({ Bucket, ...where, PartNumber, Body }));
    return { PartNumber, ETag, ChecksumCRC32 };
  };
  const complete = (where: { Key: string; UploadId: string }, Parts: CompletedPart[]) =>
    s3.send(new CompleteMultipartUploadCommand({ Bucket, ...where, MultipartUpload: { Parts } }));
  const read = async (Key: string, Range?: string): Promise<Buffer> => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key, Range }));
    return Buffer.from(await Body!.transformToByteArray());
  };
  const head = (Key: string) => s3.send(new HeadObjectCommand({ Bucket, Key }));
  const listed = async (Prefix: string): Promise<number> =>
    (await s3.send(new ListObjectsV2Command({ Bucket, Prefix }))).KeyCount ?? 0;
  /** As if nothing had been there. */
  const isGone = async ({ Key, bytes }: { Key: string; bytes: Buffer }): Promise<void> => {
    await refused(head(Key), 'NotFound');
    await refused(read(Key), 'NoSuchKey');
    assert.equal(await listed(Key), 0);
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: bytes, IfNoneMatch: '*' }));
    assert.ok((await read(Key)).equals(bytes), 'written again');
  };
  const spoil = async ({ damage }: Damage, bytes: Buffer): Promise<void> =>
    damage((await filesOf(root, bytes)).at(-1)!);

  for (const damage of DAMAGES) {
    for (const size of [1_000, BLOCK_BYTES]) {
      test(`${size} bytes, ${damage.name}: GET is 404, and the object is gone`, async () => {
        const object = await put(size);
        await spoil(damage, object.bytes);
        const answer = await fetch(await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: object.Key })));
        assert.deepEqual([answer.status, /<Code>(.*?)</.exec(await answer.text())?.[1]], [404, 'NoSuchKey']);
        await isGone(object);
      });
    }
    for (const size of [1_000, LARGE]) {
      const isSeen = damage.seenBySize || size < LARGE;
      test(`${size} bytes, ${damage.name}: HEAD is ${isSeen ? '404' : '200, as it reads nothing large'}`, async () => {
        const object = await put(size);
        await spoil(damage, object.bytes);
        if (isSeen) await isGone(object);
        else assert.equal((await head(object.Key)).ContentLength, size);
      });
    }

    test(`${damage.name}: a conditional write ${damage.seenBySize ? 'finds nothing there' : 'is refused until it is read'}`, async () => {
      const { Key, bytes } = await put(LARGE);
      await spoil(damage, bytes);
      const write = s3.send(new PutObjectCommand({ Bucket, Key, Body: bytes, IfNoneMatch: '*' }));
      if (damage.seenBySize) await write;
      else {
        await refused(write, 'PreconditionFailed');
        await refused(read(Key), 'NoSuchKey');
        await s3.send(new PutObjectCommand({ Bucket, Key, Body: bytes, IfNoneMatch: '*' }));
      }
      assert.ok((await read(Key)).equals(bytes));
    });

    test(`a part of an object, ${damage.name}: no wrong byte is given, and then the object is gone`, async () => {
      const where = await begin();
      const bytes = noise(where.Key, PART_BYTES + 1_000);
      const parts = [bytes.subarray(0, PART_BYTES), bytes.subarray(PART_BYTES)] as const;
      await complete(where, [await upload(where, 1, parts[0]), await upload(where, 2, parts[1])]);
      assert.ok((await read(where.Key)).equals(bytes));
      await spoil(damage, parts[1]);
      if (damage.seenBySize) await refused(read(where.Key, 'bytes=0-9'), 'NoSuchKey');
      else {
        assert.ok((await read(where.Key, 'bytes=0-9')).equals(bytes.subarray(0, 10)), 'what is right is given');
        await assert.rejects(read(where.Key), /aborted|reset|terminated|ECONNRESET/i);
      }
      await isGone({ Key: where.Key, bytes });
    });

    test(`a part of an open upload, ${damage.name}: ${damage.seenBySize ? 'Complete names it' : 'what it becomes is no object'}`, async () => {
      const where = await begin();
      const body = noise(where.Key, LARGE);
      const part = await upload(where, 1, body);
      await spoil(damage, body);
      if (!damage.seenBySize) {
        await complete(where, [part]);
        await refused(read(where.Key), 'NoSuchKey');
        await isGone({ Key: where.Key, bytes: body });
        return;
      }
      await refused(complete(where, [part]), 'InvalidPart');
      await complete(where, [await upload(where, 1, body)]);
      assert.ok((await read(where.Key)).equals(body));
    });
  }

  test('a damaged object is recorded as deleted, once', async () => {
    const object = await put(1_000);
    await spoil(DAMAGES[0]!, object.bytes);
    await refused(head(object.Key), 'NotFound');
    await refused(read(object.Key), 'NoSuchKey');
    const lines = (await readFile(deletionsFile(root), 'utf8')).trim().split('\n');
    assert.equal(lines.filter((line) => (JSON.parse(line) as Deletion).key === object.Key).length, 1);
  });

  test('two files of one size, swapped: neither is given for the other', async () => {
    const [one, other] = [await put(1_000), await put(1_000)];
    const paths = [...(await filesOf(root, one.bytes)), ...(await filesOf(root, other.bytes))] as const;
    await rename(paths[0]!, join(root, 'aside'));
    await rename(paths[1]!, paths[0]!);
    await rename(join(root, 'aside'), paths[1]!);
    for (const object of [one, other]) {
      await refused(read(object.Key), 'NoSuchKey');
      await isGone(object);
    }
  });

  test('a start finds what has another size or is gone, before any request', async () => {
    const whole = await put(1_000);
    const where = await begin();
    const parts = [noise(`${where.Key} 1`, 900), noise(`${where.Key} 2`, 900)] as const;
    for (const [index, body] of parts.entries()) await upload(where, index + 1, body);
    await DAMAGES.find(({ name }) => name === 'cut to nothing')!.damage((await filesOf(root, parts[0]))[0]!);
    const spoiled: (Awaited<ReturnType<typeof put>> & { damage: Damage })[] = [];
    for (const damage of DAMAGES) {
      const object = await put(1_000);
      await spoil(damage, object.bytes);
      spoiled.push({ damage, ...object });
    }
    await close();
    await open();
    for (const { damage, Key } of spoiled) {
      assert.equal(await listed(Key), damage.seenBySize ? 0 : 1, damage.name);
    }
    const left = await s3.send(new ListPartsCommand({ Bucket, ...where }));
    assert.deepEqual(
      left.Parts?.map(({ PartNumber }) => PartNumber),
      [2],
    );
    for (const object of spoiled) await isGone(object);
    assert.ok((await read(whole.Key)).equals(whole.bytes));
  });

  test('files that cannot be looked at are a fault, and no absence', async () => {
    const object = await put(1_000);
    const [files, aside] = [join(root, 'files'), join(root, 'aside')];
    await rename(files, aside);
    await writeFile(files, 'not a folder');
    await refused(read(object.Key), 'InternalError');
    await refused(head(object.Key), 'Unknown'); // HEAD has no body to name it in.
    await rm(files);
    await rename(aside, files);
    assert.ok((await read(object.Key)).equals(object.bytes));
  });

  test('the whole folder of files deleted: nothing is there, and everything can be written', async () => {
    const objects = [await put(1_000), await put(2_000)] as const;
    await rm(join(root, 'files'), { recursive: true });
    await isGone(objects[0]);
    await rm(join(root, 'files'), { recursive: true });
    await close();
    await open();
    assert.equal(await listed(''), 0);
    for (const object of objects) await isGone(object);
    assert.equal((await readdir(join(root, 'files'))).length, 2);
  });

  test('a damaged database: the start says so, and what to do', async () => {
    await close();
    const [path, aside] = [join(root, 's3.sqlite'), join(root, 'aside.sqlite')];
    await rename(path, aside);
    await writeFile(path, 'not a database '.repeat(1000));
    await assert.rejects(open(), /s3\.sqlite is damaged; remove the folder/);
    await rename(aside, path);
    await open();
    assert.ok((await listed('')) > 0);
  });

  test('the database deleted: an empty endpoint, which the bucket is made in again', async () => {
    await put(1_000);
    await close();
    for (const name of await readdir(root)) if (name.startsWith('s3.sqlite')) await rm(join(root, name));
    await open();
    await refused(head('any'), 'NotFound');
    await s3.send(new CreateBucketCommand({ Bucket }));
    assert.equal(await listed(''), 0);
    assert.deepEqual(await readdir(join(root, 'files')), []);
    await isGone({ Key: freshKey(), bytes: noise('again', 1_000) });
  });
});
