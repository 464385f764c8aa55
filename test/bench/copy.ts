import { DeleteObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { blobObjectKey } from '../../lib/store/keys.ts';
import { openCache } from '../support/cache.ts';
import { REGISTRY, type Bench } from './bench.ts';
import type { NoiseLayer } from './noise-registry.ts';
import { peers } from './peers.ts';
import { measure } from './processes.ts';
import { mebibytes, printRounds, printTable, printTitle, seconds } from './table.ts';
import type { Measurement, Transfer } from './worker.ts';

const MIB = 1024 * 1024;
/** As many as a pull copies at once (`limits.parallelBlobs`). */
const PARALLEL_BLOBS = 4;
const FLOOR = 'GET, hash, one PUT (node:http)';

let images = 0;

/** A new repository for each measurement: its layers are in no cache yet. */
async function newImage(bench: Bench, layerBytes: readonly number[]) {
  images += 1;
  const repository = `bench/image-${images}`;
  return { repository, layers: await bench.registry.publish({ repository, layerBytes }) };
}

type NoiseImage = Awaited<ReturnType<typeof newImage>>;

async function measureFloor(bench: Bench, s3: S3Client, image: NoiseImage, put: boolean): Promise<Measurement> {
  const transfers = image.layers.map(async ({ digest, size }, i): Promise<Transfer> => {
    const transfer = { digest, size, from: `${bench.registry.origin}/v2/${image.repository}/blobs/${digest}` };
    if (!put) return transfer;
    const command = new PutObjectCommand({ Bucket: bench.stack.bucket, Key: `floor/${i}` });
    return { ...transfer, to: await getSignedUrl(s3, command, { expiresIn: 600 }) };
  });
  const job = { transfers: await Promise.all(transfers), parallel: PARALLEL_BLOBS };
  return await measure(put ? 'get-put' : 'get', job, {}, bench.signal);
}

async function measurePull(bench: Bench, s3: S3Client, image: NoiseImage): Promise<Measurement> {
  const registries = { [REGISTRY]: { endpoint: bench.registry.origin, credentials: 'none', public: true } };
  await using cache = await openCache(bench.stack, { registries, limits: { leaseSeconds: 15 } });
  const measured = await measure(
    'pull',
    { reference: `${REGISTRY}/${image.repository}:v1` },
    cache.environment,
    bench.signal,
  );
  await removeBlobs(bench, s3, image.layers);
  return measured;
}

/** The next image has other layers, so these only fill the disk. */
async function removeBlobs({ stack, signal }: Bench, s3: S3Client, layers: readonly NoiseLayer[]): Promise<void> {
  for (const { digest } of layers) {
    const command = new DeleteObjectCommand({ Bucket: stack.bucket, Key: blobObjectKey(digest) });
    await s3.send(command, { abortSignal: signal });
  }
}

/** The pull of one image beside its floors, and once beside other programs that are installed. */
export async function copySection(bench: Bench, title: string, layerBytes: readonly number[]): Promise<void> {
  printTitle(title);
  const s3 = s3ClientOf(bench);
  const rounds = new Map<string, Measurement[]>();
  const keep = (name: string, measured: Measurement): void => {
    rounds.set(name, [...(rounds.get(name) ?? []), measured]);
  };
  try {
    for (let round = 1; round <= bench.rounds; round++) {
      const image = await newImage(bench, layerBytes);
      keep('GET, hash, discard (node:http)', await measureFloor(bench, s3, image, false));
      keep(FLOOR, await measureFloor(bench, s3, image, true));
      keep('entrepot pull', await measurePull(bench, s3, image));
      if (round > 1) continue;
      for (const { name, run } of peers(bench, image)) keep(name, await run());
    }
  } finally {
    s3.destroy();
  }
  printRounds(rounds, FLOOR);
}

/** Peak memory must not grow with the blob. */
export async function memorySection(bench: Bench): Promise<void> {
  printTitle('Memory of a pull by the size of its one layer: flat');
  const s3 = s3ClientOf(bench);
  const rows: string[][] = [];
  try {
    for (const size of [64 * MIB, 256 * MIB, 1024 * MIB]) {
      const measured = await measurePull(bench, s3, await newImage(bench, [size]));
      const { wallMs, peakRssBytes, readyRssBytes } = measured;
      rows.push([
        `${mebibytes(size)} MiB`,
        seconds(wallMs),
        mebibytes(peakRssBytes),
        mebibytes(peakRssBytes - readyRssBytes),
      ]);
    }
  } finally {
    s3.destroy();
  }
  printTable(['layer', 'wall s', 'peak RSS MiB', 'over start'], rows);
}

/** Checksums would be of the empty body that is presigned. */
const s3ClientOf = ({ stack }: Bench): S3Client =>
  new S3Client({ ...stack.s3Config, requestChecksumCalculation: 'WHEN_REQUIRED' });
