import { DynamoDBClient, DeleteItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { unmarshall } from '@aws-sdk/util-dynamodb';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf, hexOf } from '../../../lib/oci/digest.ts';
import { removeTag } from '../../../lib/images/remove-tag.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { rebuild, type RebuiltReference } from '../../../lib/repair/rebuild.ts';
import { openCache, rawS3, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import {
  buildAttestation,
  buildImage,
  buildIndex,
  multiArchImage,
  noiseImage,
  noiseLayer,
  upstreamImage,
} from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';

const REGISTRY = 'registry.example.test';
const OTHER = 'private.example.test';
const { signal } = new AbortController();

let bench: Bench;
let upstream: TestUpstream;
let cache: TestCache;
let dynamo: DynamoDBClient;

const multi = multiArchImage({ name: 'multi', attestations: true });
const single = noiseImage({ name: 'single' });

const held = Buffer.from('a foreign layer that the registry holds');
const foreign = (bytes: Uint8Array) => ({
  foreign: {
    mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    digest: digestOf(bytes),
    size: bytes.byteLength,
  },
  urls: ['http://127.0.0.1:9/x'],
});
const windows = buildImage({
  platform: 'windows/amd64',
  mediaTypes: 'docker',
  layers: [foreign(held), foreign(Buffer.from('gone')), noiseLayer(700, 'own')],
});
const lacking = buildIndex({
  entries: [
    { image: windows, platform: 'windows/amd64' },
    { image: buildAttestation(windows), attests: windows },
  ],
});

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  upstream.addImage('team/multi', upstreamImage(multi, 'v1'));
  upstream.addImage('team/single', upstreamImage(single, 'v1'));
  // One attestation and one foreign layer are gone from the registry; another foreign layer is there.
  upstream.addImage('team/lacking', upstreamImage(lacking, 'v1'));
  upstream.deleteManifest('team/lacking', buildAttestation(windows).root.digest);
  upstream.putBlob('team/lacking', held);
  const registry = { endpoint: upstream.origin, credentials: 'none', public: true };
  cache = await bench.use(openCache(bench.stack, { registries: { [REGISTRY]: registry, [OTHER]: registry } }));
  dynamo = new DynamoDBClient(bench.stack.dynamoConfig);
});
after(async () => {
  dynamo.destroy();
  await bench[Symbol.asyncDispose]();
});

/** Every row, by its key, without what only the way to it says: leases, who wrote it or asked for it, and which table it is. */
async function rows(): Promise<Map<string, Record<string, unknown>>> {
  const { Items = [] } = await dynamo.send(new ScanCommand({ TableName: bench.stack.table, ConsistentRead: true }));
  const lease = ['holder', 'version', 'durationMs', 'leaseUntilMs'];
  const written = ['committedBy', 'commit', 'stamp', 'usedDay'];
  const way = [...lease, ...written, 'checkedMs', 'resolutions', 'resolvedBy', 'publishedBy', 'recorded'];
  return new Map(
    Items.map((item) => unmarshall(item))
      .filter(({ pk }) => !/^(LOCK#|EPOCH#|INCARNATION$)/.test(pk as string))
      .map((row) => {
        const kept = Object.entries(row).filter(([name]) => {
          // A blob's generation counts its claims; a pointer's its publications.
          return !way.includes(name) && !(name === 'generation' && (row.pk as string).startsWith('BLOB#'));
        });
        return [`${String(row.pk)} ${String(row.sk)}`, Object.fromEntries(kept)];
      }),
  );
}

async function loseTheTable(): Promise<void> {
  const { Items = [] } = await dynamo.send(new ScanCommand({ TableName: bench.stack.table }));
  for (const { pk, sk } of Items) {
    await dynamo.send(new DeleteItemCommand({ TableName: bench.stack.table, Key: { pk: pk!, sk: sk! } }));
  }
}

const rebuilt = (): Promise<RebuiltReference[]> => Array.fromAsync(rebuild(cache.services.pull, signal));

test('a lost table is made again from the bucket, row by row, and every pull is a hit without the registry', async () => {
  await cache.pull(`${REGISTRY}/team/multi:v1`, { platforms: ['linux/amd64'] });
  await cache.pull(`${REGISTRY}/team/multi@${multi.root.digest}`);
  await cache.pull(`${REGISTRY}/team/single:v1`);
  await cache.pull(`${OTHER}/team/single:v1`);
  const skipped = (await cache.pull(`${REGISTRY}/team/lacking:v1`)).skipped;
  assert.equal(skipped.length, 2);
  const before = await rows();
  // Of what the registry did not have, rows say that somebody looked for it.
  for (const { digest } of skipped) {
    for (const kind of ['BLOB', 'CHILD']) before.delete(`${kind}#${digest} ${kind}`);
  }

  await loseTheTable();
  assert.equal((await rows()).size, 0);
  upstream.requests.length = 0;
  const outcomes = await rebuilt();
  assert.deepEqual(
    outcomes.map(({ outcome }) => outcome),
    ['rebuilt', 'rebuilt', 'rebuilt', 'rebuilt', 'rebuilt'],
  );
  const after = await rows();
  assert.deepEqual([...after.keys()].sort(), [...before.keys()].sort());
  for (const [key, row] of after) assert.deepEqual(row, before.get(key), key);

  assert.equal((await cache.pull(`${REGISTRY}/team/multi@${multi.root.digest}`)).outcome, 'hit');
  assert.equal((await cache.pull(`${REGISTRY}/team/multi:v1`, { platforms: ['linux/amd64'] })).outcome, 'hit');
  assert.equal((await cache.pull(`${OTHER}/team/single:v1`)).outcome, 'hit');
  assert.equal((await cache.validate(`${REGISTRY}/team/multi:v1`, { deep: true })).state, 'complete');
  const hit = await cache.pull(`${REGISTRY}/team/lacking:v1`);
  assert.deepEqual([hit.outcome, hit.skipped, hit.blobs.total], ['hit', skipped, 3]);
  assert.equal((await cache.validate(`${REGISTRY}/team/lacking:v1`, { deep: true })).state, 'complete');
  assert.equal(upstream.requests.length, 0);
});

test('again it changes nothing', async () => {
  const before = await rows();
  assert.deepEqual(new Set((await rebuilt()).map(({ outcome }) => outcome)), new Set(['kept']));
  assert.deepEqual(await rows(), before);
});

test('what is not whole in the bucket is not called complete, and what is no record is named', async () => {
  const s3 = rawS3(bench.stack);
  const { bucket } = bench.stack;
  const layer = [...single.blobs.keys()].at(-1)!;
  await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: `blobs/sha256/${hexOf(layer)}` }));
  const garbage = { 'refs/x/y/z.json': 'garbage', [`refs/${REGISTRY}/a/b.json`]: '{"reference":"alpine"}' };
  for (const [Key, Body] of Object.entries(garbage)) await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
  s3.destroy();
  await loseTheTable();

  const outcomes = await rebuilt();
  const keys = outcomes.map((one) => (one.outcome === 'skipped' ? one.key : one.outcome));
  const records = [OTHER, REGISTRY].map((registry) => `refs/${registry}/team/single/v1.json`);
  assert.deepEqual(keys.sort(), [...Object.keys(garbage), ...records, 'rebuilt', 'rebuilt', 'rebuilt'].sort());
  assert.equal((await cache.validate(`${REGISTRY}/team/single:v1`)).state, 'unknown');
  // The next pull brings what is missing, and that alone.
  upstream.requests.length = 0;
  const receipt = await cache.pull(`${REGISTRY}/team/single:v1`);
  assert.deepEqual([receipt.outcome, receipt.blobs.copied], ['pulled', 1]);
  assert.equal(upstream.count({ kind: 'blob', method: 'GET' }), 1);
});

test('of an index, the platforms that are whole are complete again', async () => {
  const s3 = rawS3(bench.stack);
  const { bucket } = bench.stack;
  const arm = multi.children.get('linux/arm64')!;
  const own = [...arm.blobs.keys()].find((digest) => !multi.children.get('linux/amd64')!.blobs.has(digest))!;
  await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: `blobs/sha256/${hexOf(own)}` }));
  s3.destroy();
  await loseTheTable();

  const outcomes = await rebuilt();
  const partly = outcomes.find((one) => one.outcome === 'partly');
  assert.deepEqual(partly, {
    outcome: 'partly',
    reference: `${REGISTRY}/team/multi@${multi.root.digest}`,
    lost: 1,
  });
  upstream.requests.length = 0;
  assert.equal((await cache.pull(`${REGISTRY}/team/multi:v1`, { platforms: ['linux/amd64'] })).outcome, 'hit');
  assert.equal(upstream.requests.length, 0);
  const healed = await cache.pull(`${REGISTRY}/team/multi@${multi.root.digest}`);
  assert.deepEqual([healed.outcome, healed.blobs.copied], ['pulled', 1]);
});

/** Lets something happen between the listing of the records and the lock of each. */
const rebuiltAfter = (meanwhile: () => Promise<unknown>): Promise<RebuiltReference[]> => {
  const { pull } = cache.services;
  const refs = {
    ...pull.refs,
    async *list(until: AbortSignal) {
      const found = await Array.fromAsync(pull.refs.list(until));
      await meanwhile();
      yield* found;
    },
  };
  return Array.fromAsync(rebuild({ ...pull, refs }, signal));
};
const outcomeOf = (all: readonly RebuiltReference[], name: string): string | undefined =>
  all.find((one) => one.outcome !== 'skipped' && one.reference === name)?.outcome;

test('what a pull publishes meanwhile stands, though a new table counts its generations from the start', async () => {
  const name = `${REGISTRY}/team/meanwhile:v1`;
  const [old, newer] = ['one', 'two'].map((one) => noiseImage({ name: `meanwhile ${one}` }));
  for (const image of [single, old!]) {
    upstream.addImage('team/meanwhile', upstreamImage(image, 'v1'));
    await cache.pull(name, { alwaysPull: true });
  }
  await loseTheTable();
  upstream.addImage('team/meanwhile', upstreamImage(newer!, 'v1'));
  const outcomes = await rebuiltAfter(() => cache.pull(name));
  assert.equal(outcomeOf(outcomes, name), 'kept');
  const { pointer } = await cache.services.catalog.find(parseReference(name), { consistent: true, signal });
  assert.equal(pointer?.published, newer!.root.digest);
});

test('a tag that is removed meanwhile stays removed', async () => {
  const name = `${REGISTRY}/team/removed:v1`;
  upstream.addImage('team/removed', upstreamImage(noiseImage({ name: 'removed' }), 'v1'));
  await cache.pull(name);
  const outcomes = await rebuiltAfter(() => removeTag(cache.services.pull, parseReference(name), signal));
  assert.equal(outcomeOf(outcomes, name), 'gone');
  const { pointer } = await cache.services.catalog.find(parseReference(name), { consistent: true, signal });
  assert.equal(pointer?.published, undefined);
});

test('an object that is too large for a record stops nothing', async () => {
  const s3 = rawS3(bench.stack);
  const Key = 'refs/large/large/large.json';
  const Body = Buffer.alloc(1024 * 1024 + 1, ' ');
  await s3.send(new PutObjectCommand({ Bucket: bench.stack.bucket, Key, Body }));
  s3.destroy();
  const found = (await rebuilt()).find((one) => one.outcome === 'skipped' && one.key === Key);
  assert.match(found?.outcome === 'skipped' ? found.problem : '', /has 1048577 bytes, a record has at most/);
});
