import { DeleteItemCommand, DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { parseReference } from '../../../lib/reference/reference.ts';
import { rebuild } from '../../../lib/repair/rebuild.ts';
import { bySha512, listing, multiArchImage, noise, noiseImage, type Image } from '../../support/images.ts';
import { startPullBench, type PullBench } from '../pull/pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

async function loseTheTable(): Promise<void> {
  const dynamo = new DynamoDBClient(bench.stack.dynamoConfig);
  const { table: TableName } = bench.stack;
  const { Items = [] } = await dynamo.send(new ScanCommand({ TableName, ConsistentRead: true }));
  for (const { pk, sk } of Items) await dynamo.send(new DeleteItemCommand({ TableName, Key: { pk: pk!, sk: sk! } }));
  dynamo.destroy();
}

const inner = noiseImage({ name: 'inner' });
const nested = listing([], [inner]);
const typeless = noiseImage({ name: 'typeless' });
const opaque = Buffer.from('{"opaque":true}');
const mixed = listing(
  [
    { bytes: noise(1_000, 'layer'), as: 'blob', mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' },
    {
      bytes: Buffer.from('{"layers":[{"blob":"x"}],"records":[]}'),
      as: 'blob',
      mediaType: 'application/vnd.buildkit.cacheconfig.v0',
    },
    { bytes: noise(1_000, 'no type'), as: 'blob' },
    { bytes: opaque, as: 'manifest', mediaType: 'application/vnd.example.unknown.v1+json' },
    { bytes: nested.root.bytes, as: 'manifest', contentType: nested.root.mediaType },
    { bytes: typeless.root.bytes, as: 'manifest', contentType: typeless.root.mediaType },
  ],
  [noiseImage({ name: 'typed' })],
);
const images: Readonly<Record<string, Image>> = {
  'an index by SHA-512': bySha512(multiArchImage({ name: 'rebuilt', attestations: true })),
  'an index of everything': {
    root: mixed.root,
    manifests: new Map([...inner.manifests, ...mixed.manifests]),
    blobs: new Map([...inner.blobs, ...typeless.blobs, ...mixed.blobs]),
  },
};

for (const [what, image] of Object.entries(images)) {
  test(`${what}: a lost table is made again, and the pull is a hit with the same receipt`, async () => {
    const reference = bench.offer(image, `team/${what.toLowerCase().replaceAll(' ', '-')}`);
    await bench.succeeds(reference);
    const before = await bench.succeeds(reference);
    await loseTheTable();
    const outcomes = await Array.fromAsync(rebuild(bench.cache.services.pull, AbortSignal.timeout(30_000)));
    assert.deepEqual(
      outcomes.filter((one) => !('reference' in one) || one.reference === reference),
      [{ outcome: 'rebuilt', reference, lost: 0 }],
    );
    bench.upstream.requests.length = 0;
    const receipt = await bench.succeeds(reference);
    assert.deepEqual([receipt.outcome, receipt.blobs, receipt.bytes], ['hit', before.blobs, before.bytes]);
    assert.deepEqual(receipt.platforms, before.platforms);
    assert.equal((await bench.cache.validate(reference, { deep: true })).state, 'complete');
    assert.equal(bench.upstream.requests.length, 0);
  });
}

test('a manifest of an unknown type is never read as another one: it gives no right to what it names', async () => {
  const secret = noiseImage({ name: 'secret' });
  await bench.succeeds(bench.offer(secret, 'team/secret'));
  const entry = { bytes: secret.root.bytes, as: 'manifest', contentType: 'application/vnd.example.other' } as const;
  // Without a type of its own it would be read as an image.
  const bytes = Buffer.from(
    Buffer.from(entry.bytes)
      .toString()
      .replace(/"mediaType":"[^"]+",/, ''),
  );
  const reference = bench.offer(listing([{ ...entry, bytes }]), 'evil/names-it');
  await bench.succeeds(reference);
  await loseTheTable();
  await Array.fromAsync(rebuild(bench.cache.services.pull, AbortSignal.timeout(30_000)));
  assert.equal((await bench.succeeds(reference)).outcome, 'hit');
  const { repository } = parseReference(reference);
  const signal = AbortSignal.timeout(5_000);
  const links = await bench.cache.services.catalog.findLinks(repository, [...secret.blobs.keys()], signal);
  assert.deepEqual([...links.keys()], []);
});
