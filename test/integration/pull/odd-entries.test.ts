import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_INDEX } from '../../../lib/oci/media-type.ts';
import { noiseImage } from '../../support/images.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const right = noiseImage({ name: 'right' });
const odd = noiseImage({ name: 'odd', platform: 'linux/s390x' });
const platform = { os: 'linux', architecture: 'amd64' };
const entryOf = ({ root }: typeof right, more: object) => ({
  mediaType: root.mediaType,
  digest: root.digest,
  size: root.size,
  ...more,
});

/** An index of a right image for linux/amd64, and of something odd. */
function offer(name: string, entry: unknown): string {
  const repository = `team/${name}`;
  bench.offer(right, repository, 'right');
  bench.offer(odd, repository, 'odd');
  const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [entryOf(right, { platform }), entry] };
  bench.upstream.putManifest(repository, 'v1', Buffer.from(JSON.stringify(index)), OCI_INDEX);
  return `${REGISTRY}/${repository}:v1`;
}

describe('an entry whose platform is odd', () => {
  for (const [name, stated] of [
    ['empty', {}],
    ['os-alone', { os: 'linux' }],
    ['architecture-alone', { architecture: 'amd64' }],
    ['null-parts', { os: null, architecture: null }],
    ['numbers', { os: 1, architecture: 2 }],
    ['text', 'linux/amd64'],
    ['list', []],
    ['too-long', { os: 'linux', architecture: 'x'.repeat(65) }],
  ] as const) {
    test(`goes along with everything, and with no other platform: ${name}`, async () => {
      const reference = offer(`platform-${name}`, entryOf(odd, { platform: stated }));
      const one = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
      assert.deepEqual(
        one.platforms.map(({ digest }) => digest),
        [right.root.digest],
      );
      assert.equal((await bench.cache.validate(reference)).state, 'incomplete');
      const all = await bench.succeeds(reference);
      assert.deepEqual(
        all.platforms.map(({ digest }) => digest),
        [right.root.digest, odd.root.digest],
      );
      assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
    });
  }
});

describe('an entry that cannot be read', () => {
  const s390x = { platform: { os: 'linux', architecture: 's390x' } };
  for (const [name, entry, fault] of [
    ['schema-1', entryOf(odd, { ...s390x, mediaType: SCHEMA_1 }), /linux\/s390x cannot be pulled: .*schema 1/],
    ['schema-1-bare', { mediaType: SCHEMA_1, digest: digestOf(Buffer.from('x')), size: 1 }, /unknown .*schema 1/],
    ['no-digest', entryOf(odd, { ...s390x, digest: undefined }), /linux\/s390x .*"manifests\[1\]\.digest" is missing/],
    ['odd-digest', entryOf(odd, { ...s390x, digest: 'sha256:abc' }), /linux\/s390x .*digest" is "sha256:abc"/],
    ['odd-size', entryOf(odd, { ...s390x, size: -5 }), /linux\/s390x .*size" is -5.*sha256:/],
    ['no-object', 'text', /unknown cannot be pulled: "manifests\[1\]" is not a descriptor/],
  ] as const) {
    test(`stops only who asks for it: ${name}`, async () => {
      const reference = offer(`entry-${name}`, entry);
      const receipt = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
      assert.deepEqual(
        receipt.platforms.map(({ platform: shown }) => shown),
        ['linux/amd64'],
      );
      const expected = { name: 'InvalidManifestError', message: fault };
      await bench.fails(reference, expected);
      if (name !== 'no-object' && name !== 'schema-1-bare') {
        await bench.fails(reference, expected, { platforms: ['linux/s390x'] });
      }
      const { state, missing } = await bench.cache.validate(reference);
      assert.equal(state, 'incomplete');
      assert.match(missing.map(({ reason }) => reason).join('\n'), fault);
      assert.equal((await bench.cache.pull(reference, { platforms: ['linux/amd64'] })).outcome, 'hit');
    });
  }
});

test('a manifest that is not UTF-8 is kept byte for byte', async () => {
  const image = noiseImage({ name: 'latin1' });
  const document = JSON.parse(Buffer.from(image.root.bytes).toString('utf8')) as object;
  const text = JSON.stringify({ ...document, annotations: { vendor: 'M\u00fcller' } });
  bench.offer(image, 'team/latin1');
  for (const [tag, bytes] of [
    ['latin1', Buffer.from(text, 'latin1')],
    ['mark', Buffer.from(`\ufeff${text}`, 'utf8')],
  ] as const) {
    bench.upstream.putManifest('team/latin1', tag, bytes, image.root.mediaType);
    const receipt = await bench.succeeds(`${REGISTRY}/team/latin1:${tag}`);
    assert.equal(receipt.digest, digestOf(bytes));
    assert.equal(receipt.blobs.total, image.blobs.size);
  }
});
