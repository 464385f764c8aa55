import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectTaggingCommand,
  ListObjectsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { startS3 } from '../../infra/local/s3/server.ts';
import { s3EndpointSuite } from './s3-endpoint-suite.ts';
import { s3Process } from './s3-process-subject.ts';
import { clientOf, refused } from './s3-suite-support.ts';

const MAIN = fileURLToPath(new URL('../../infra/local/s3/main.ts', import.meta.url));
const keys = { region: 'us-east-1', accessKeyId: 'suite', secretAccessKey: 'suite-secret' };
const scratch = mkdtempSync(join(tmpdir(), 'entrepot-s3-'));
after(() => rm(scratch, { recursive: true, force: true }));

const embedded = s3Process({
  command: (port) => [process.execPath, MAIN, '--root', join(scratch, 'suite'), '--port', String(port)],
  environment: { ENTREPOT_LOCAL_S3_KEY: keys.accessKeyId, ENTREPOT_LOCAL_S3_SECRET: keys.secretAccessKey },
  ...keys,
});
s3EndpointSuite('embedded', { ...embedded, differences: {} });

describe('the embedded S3 endpoint itself', () => {
  test('what it does not implement is 501, never accepted in silence', async () => {
    const server = await startS3({ root: join(scratch, 'unsupported'), ...keys });
    const s3 = clientOf({ ...server, ...keys });
    const where = { Bucket: 'bucket', Key: 'key' };
    try {
      await s3.send(new CreateBucketCommand({ Bucket: 'bucket' }));
      for (const attempt of [
        () => s3.send(new GetObjectTaggingCommand(where)),
        () => s3.send(new ListObjectsCommand({ Bucket: 'bucket' })),
        () => s3.send(new CopyObjectCommand({ ...where, CopySource: 'bucket/other' })),
        () =>
          s3.send(
            new PutBucketLifecycleConfigurationCommand({ Bucket: 'bucket', LifecycleConfiguration: { Rules: [] } }),
          ),
        () => s3.send(new PutObjectCommand({ ...where, Body: 'x', Tagging: 'a=b' })),
        () => s3.send(new PutObjectCommand({ ...where, Body: 'x', StorageClass: 'GLACIER' })),
        () => s3.send(new PutObjectCommand({ ...where, Body: 'x', ServerSideEncryption: 'aws:kms' })),
        () => s3.send(new PutObjectCommand({ ...where, Body: 'x', ChecksumCRC64NVME: 'AAAAAAAAAAA=' })),
        () => s3.send(new CreateMultipartUploadCommand({ ...where, ChecksumAlgorithm: 'CRC64NVME' })),
      ]) {
        await refused(attempt(), 'NotImplemented');
      }
    } finally {
      s3.destroy();
      await server.close();
    }
  });

  test('a folder serves one endpoint at a time, and what no row names is swept at its start', async () => {
    const root = join(scratch, 'exclusive');
    const first = await startS3({ root, ...keys });
    await assert.rejects(startS3({ root, ...keys }), /locked/);
    const s3 = clientOf({ ...first, ...keys });
    await s3.send(new CreateBucketCommand({ Bucket: 'bucket' }));
    await s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'key', Body: 'x' }));
    s3.destroy();
    await first.close();
    await writeFile(join(root, 'files', 'left-by-a-kill'), 'half');
    const second = await startS3({ root, ...keys });
    assert.equal((await readdir(join(root, 'files'))).length, 1);
    await second.close();
  });

  test('refused and overwritten bytes leave no file behind', async () => {
    const root = join(scratch, 'garbage');
    const server = await startS3({ root, ...keys });
    const s3 = clientOf({ ...server, ...keys });
    await s3.send(new CreateBucketCommand({ Bucket: 'bucket' }));
    const put = (Body: string, more = {}) =>
      s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'key', Body, ...more }));
    await put('first');
    await put('second');
    await refused(put('third', { IfNoneMatch: '*' }), 'PreconditionFailed');
    await refused(put('fourth', { ChecksumCRC32: 'AAAAAA==' }), 'BadDigest');
    s3.destroy();
    await server.close();
    assert.equal((await readdir(join(root, 'files'))).length, 1);
  });
});
