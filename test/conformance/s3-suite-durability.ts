import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { Case, S3Bench } from './s3-suite-support.ts';
import { crc32Base64, freshKey, noise, sha256 } from './s3-suite-support.ts';
import { until } from '../support/until.ts';

const ROUNDS = 5;
const WRITERS = 4;
/** Bounded: a server that survives its kill would otherwise be written to for ever. */
const MAX_WRITES = 2000;

/** What SIGKILL leaves behind. */
export function durabilityCases(check: Case, bench: S3Bench): void {
  check('SIGKILL at any time loses no acknowledged object, shows no half one, and keeps open uploads', async () => {
    const top = freshKey('kill');
    const uploadKey = `${top}-upload`;
    const { UploadId } = await bench.s3.send(
      new CreateMultipartUploadCommand({
        Bucket: bench.bucket,
        Key: uploadKey,
        ChecksumAlgorithm: 'CRC32',
        ChecksumType: 'FULL_OBJECT',
      }),
    );
    const where = { Bucket: bench.bucket, Key: uploadKey, UploadId };
    const acknowledged = new Set<string>();
    const parts = new Map<number, string>();
    for (let round = 0; round < ROUNDS; round++) {
      const before = acknowledged.size + parts.size;
      const writers = Array.from({ length: WRITERS }, (_, writer) =>
        writeObjects(`${top}/${round}-${writer}`, acknowledged),
      );
      const uploader = uploadParts(where, round * MAX_WRITES, parts);
      await until(() => acknowledged.size + parts.size > before, 10_000);
      await sleep(Math.floor(Math.random() * 300));
      await bench.restart();
      await Promise.all([...writers, uploader]);
      await assertWhole(top, acknowledged);
      await assertParts(where, parts);
    }
    const last = Math.max(...parts.keys());
    // All parts but the last are below S3's minimum: so one part is completed, the last acknowledged one.
    await bench.s3.send(
      new CompleteMultipartUploadCommand({
        ...where,
        MultipartUpload: {
          Parts: [{ PartNumber: last, ETag: parts.get(last), ChecksumCRC32: crc32Base64(partBytes(last)) }],
        },
      }),
    );
    assert.deepEqual(await read(uploadKey), partBytes(last));
  });

  async function writeObjects(prefix: string, acknowledged: Set<string>): Promise<void> {
    const { s3, bucket } = bench;
    for (let index = 0; index < MAX_WRITES; index++) {
      const key = `${prefix}-${index}`;
      try {
        await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: objectBytes(key) }));
      } catch {
        return;
      }
      acknowledged.add(key);
    }
  }

  async function uploadParts(
    where: { Bucket: string; Key: string; UploadId: string | undefined },
    from: number,
    parts: Map<number, string>,
  ): Promise<void> {
    const { s3 } = bench;
    for (let number = from + 1; number < from + MAX_WRITES; number++) {
      try {
        const { ETag = '' } = await s3.send(
          new UploadPartCommand({ ...where, PartNumber: number, Body: partBytes(number) }),
        );
        parts.set(number, ETag);
      } catch {
        return;
      }
    }
  }

  async function assertWhole(top: string, acknowledged: ReadonlySet<string>): Promise<void> {
    const visible = new Set<string>();
    let ContinuationToken: string | undefined;
    do {
      const page = await bench.s3.send(
        new ListObjectsV2Command({ Bucket: bench.bucket, Prefix: `${top}/`, ContinuationToken }),
      );
      for (const { Key = '' } of page.Contents ?? []) visible.add(Key);
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined && visible.size < ROUNDS * WRITERS * MAX_WRITES);
    assert.deepEqual(
      [...acknowledged].filter((key) => !visible.has(key)),
      [],
    );
    for (const key of visible) assert.ok((await read(key)).equals(objectBytes(key)), `${key} is not whole`);
  }

  async function assertParts(
    where: { Bucket: string; Key: string; UploadId: string | undefined },
    parts: ReadonlyMap<number, string>,
  ): Promise<void> {
    const listed = new Map<number, string>();
    let PartNumberMarker: string | undefined;
    do {
      const page = await bench.s3.send(new ListPartsCommand({ ...where, PartNumberMarker }));
      for (const { PartNumber = 0, ETag = '' } of page.Parts ?? []) listed.set(PartNumber, ETag);
      PartNumberMarker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
    } while (PartNumberMarker !== undefined && listed.size < 10_000);
    for (const [number, etag] of parts) assert.equal(listed.get(number), etag, `part ${number}`);
  }

  async function read(key: string): Promise<Buffer> {
    const { Body } = await bench.s3.send(new GetObjectCommand({ Bucket: bench.bucket, Key: key }));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }
}

function objectBytes(key: string): Buffer {
  return noise(key, 1000 + (sha256(key).readUInt32BE() % 400_000));
}

function partBytes(number: number): Buffer {
  return noise(`part ${number}`, 50_000 + number);
}
