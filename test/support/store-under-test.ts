import {
  CreateBucketCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  type S3Client,
} from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContentStore, Presigner, RefRecords, StoredContent } from '../../lib/store/content-store.ts';
import type { Descriptor } from '../../lib/oci/descriptor.ts';
import { digestOf, type Algorithm } from '../../lib/oci/digest.ts';
import { privateDomain } from '../../lib/reference/trust-domain.ts';
import { s3Client } from '../../lib/store/s3-client.ts';
import { s3Presigner } from '../../lib/store/s3-presign.ts';
import { s3RefRecords } from '../../lib/store/s3-refs.ts';
import { s3ContentStore } from '../../lib/store/s3-store.ts';
import { startFaultProxy, type FaultProxy } from './http-fault-proxy.ts';

/** A running S3 server, embedded or real. */
export interface S3Endpoint {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  close(): Promise<void>;
}

export const MIB = 1024 * 1024;
/** The smallest that S3 allows, so that small blobs have many parts. */
export const PART_BYTES = 5 * MIB;
export const WINDOW_PARTS = 3;
export const DOMAIN = privateDomain('registry.example.test:5000', '1f3a');

/** The store on a fresh bucket behind a fault proxy, and direct access to both. */
export interface StoreUnderTest extends AsyncDisposable {
  readonly store: ContentStore;
  /** The same, but its ingests can be resumed however fast they are. */
  readonly resumable: ContentStore;
  readonly refs: RefRecords;
  /** Signs URLs with keys that expire. */
  readonly presigner: (expiration?: Date) => Presigner;
  readonly proxy: FaultProxy;
  readonly bucket: string;
  /** Goes past the proxy. */
  readonly direct: S3Client;
  readonly keys: () => Promise<string[]>;
  readonly openUploads: () => Promise<number>;
  readonly bytesAt: (key: string) => Promise<Buffer>;
}

/** A store of its own bucket on `server`. Its disposal ends the proxy and the clients; the bucket stays. */
export async function storeOn(server: S3Endpoint): Promise<StoreUnderTest> {
  const bucket = `store-${randomBytes(8).toString('hex')}`;
  const { accessKeyId, secretAccessKey, region } = server;
  const options = { region, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: true };
  const proxy = await startFaultProxy(server.endpoint);
  const client = s3Client({ ...options, endpoint: proxy.endpoint });
  const direct = s3Client({ ...options, endpoint: server.endpoint });
  await direct.send(new CreateBucketCommand({ Bucket: bucket }));
  const storeOptions = { client, bucket, partBytes: PART_BYTES, windowParts: WINDOW_PARTS };
  return {
    store: s3ContentStore(storeOptions),
    resumable: s3ContentStore({ ...storeOptions, resumableAboveMs: 0 }),
    refs: s3RefRecords({ client, bucket }),
    presigner: (expiration) =>
      s3Presigner({
        bucket,
        region: () => Promise.resolve(region),
        credentials: () =>
          Promise.resolve({ accessKeyId, secretAccessKey, ...(expiration === undefined ? {} : { expiration }) }),
        endpoint: new URL(server.endpoint),
      }),
    proxy,
    bucket,
    direct,
    keys: async () => {
      const { Contents: contents = [] } = await direct.send(new ListObjectsV2Command({ Bucket: bucket }));
      return contents.map((object) => object.Key ?? '');
    },
    openUploads: async () => {
      const { Uploads: uploads = [] } = await direct.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
      return uploads.length;
    },
    bytesAt: async (key) => {
      const { Body: body } = await direct.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      return Buffer.from((await body?.transformToByteArray()) ?? []);
    },
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      direct.destroy();
      await proxy.close();
    },
  };
}

/** Random bytes and their descriptor. */
export function someContent(
  size: number,
  algorithm?: Algorithm,
): { readonly content: Descriptor; readonly bytes: Buffer } {
  const bytes = randomBytes(size);
  return { bytes, content: descriptorOf(bytes, algorithm) };
}

export function descriptorOf(bytes: Uint8Array, algorithm?: Algorithm): Descriptor {
  return { mediaType: 'application/octet-stream', digest: digestOf(bytes, algorithm), size: bytes.byteLength };
}

/** `bytes` cut into chunks of the given sizes, in turns. */
export function* chunksOf(bytes: Uint8Array, ...sizes: number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.byteLength; turn += 1) {
    const size = sizes[turn % sizes.length] ?? bytes.byteLength;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Ingests `bytes` as `content` in chunks of the given sizes. */
export async function ingest(
  store: ContentStore,
  content: Descriptor,
  bytes: Uint8Array,
  ...chunkSizes: number[]
): Promise<StoredContent> {
  await using upload = await store.begin(content, DOMAIN, new AbortController().signal);
  assert.equal(upload.offset, 0);
  for (const chunk of chunksOf(bytes, ...chunkSizes)) await upload.write(chunk);
  return await upload.commit();
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += 10) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error(`the condition did not hold within ${timeoutMs} ms`);
}
