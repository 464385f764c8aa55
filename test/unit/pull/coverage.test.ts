import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Root } from '../../../lib/catalog/catalog.ts';
import type { IndexEntry } from '../../../lib/oci/descriptor.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { OCI_INDEX, OCI_MANIFEST, OCTET_STREAM } from '../../../lib/oci/media-type.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import { coverage, platformsFor, wantedPlatforms } from '../../../lib/pull/coverage.ts';

const platforms = (...texts: string[]) => texts.map((text) => parsePlatform(text));
const asking = (...texts: string[]) => wantedPlatforms(platforms(...texts), []);
const digest = (name: string): Digest => digestOf(Buffer.from(name));
const manifest = (name: string, platform?: string): IndexEntry => ({
  mediaType: OCI_MANIFEST,
  digest: digest(name),
  size: 1,
  ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
});

const amd64 = manifest('amd64', 'linux/amd64');
const arm64 = manifest('arm64', 'linux/arm64');
const attestation: IndexEntry = { ...manifest('attestation'), attests: amd64.digest };
const index = (complete: readonly Digest[]): Root => ({
  mediaType: OCI_INDEX,
  digest: digest('index'),
  size: 1,
  entries: [amd64, arm64, attestation],
  complete: new Set(complete),
  contents: new Map(),
  foreign: [],
});
const single = (platform?: string): Root => {
  const entry = manifest('single', platform);
  return { ...entry, entries: [entry], complete: new Set([entry.digest]), contents: new Map(), foreign: [] };
};
const isCovered = (root: Root, linked: readonly Digest[] | undefined, ...texts: string[]): boolean =>
  coverage({ root, ...(linked && { linked: new Set(linked) }) }, asking(...texts)).complete;

test('what was asked for wins over what is configured, each platform once', () => {
  const configured = platforms('linux/s390x');
  assert.deepEqual(wantedPlatforms([], configured), { platforms: configured, explicit: false, attestations: true });
  assert.deepEqual(wantedPlatforms(platforms('linux/amd64', 'linux/x86_64', 'linux/arm64'), configured), {
    platforms: platforms('linux/amd64', 'linux/arm64'),
    explicit: true,
    attestations: true,
  });
  // Not the same: one takes any variant, the other only its own.
  assert.equal(asking('linux/arm64/v8', 'linux/arm64').platforms.length, 2);
});

test('a configured default narrows indexes alone', () => {
  const byDefault = wantedPlatforms([], platforms('linux/amd64'));
  assert.deepEqual(platformsFor(byDefault, OCI_INDEX, [amd64]), platforms('linux/amd64'));
  assert.deepEqual(platformsFor(byDefault, OCI_MANIFEST, [amd64]), []);
  assert.deepEqual(platformsFor(asking('linux/amd64'), OCI_MANIFEST, [amd64]), platforms('linux/amd64'));
  assert.ok(coverage({ root: single('linux/arm64'), linked: new Set([digest('single')]) }, byDefault).complete);
});

test('a configured default narrows no index without platforms: all of it is taken, or not complete', () => {
  const byDefault = wantedPlatforms([], platforms('linux/amd64'));
  const layer: IndexEntry = { ...manifest('layer'), mediaType: 'application/vnd.oci.image.layer.v1.tar' };
  assert.deepEqual(platformsFor(byDefault, OCI_INDEX, [layer]), []);
  assert.deepEqual(platformsFor(byDefault, OCI_INDEX, []), platforms('linux/amd64'));
  const some = new Set([digest('index'), layer.digest]);
  const covered = (linked: ReadonlySet<Digest>, wanted = byDefault) =>
    coverage({ root: { ...index([...some]), entries: [layer] }, linked }, wanted).complete;
  assert.equal(covered(some), true);
  assert.equal(covered(new Set([digest('index')])), false);
  assert.equal(covered(some, asking('linux/amd64')), false);
});

test('nothing known is nothing covered', () => {
  assert.deepEqual(coverage({}, asking()), { entries: [], layers: [], skipped: [], complete: false });
});

test('an index covers the platforms that are complete and linked, attestations included', () => {
  const some = [digest('index'), amd64.digest, attestation.digest];
  assert.equal(isCovered(index(some), some, 'linux/amd64'), true);
  assert.equal(isCovered(index(some), some, 'linux/arm64'), false);
  assert.equal(isCovered(index(some), some), false);
  assert.equal(isCovered(index(some), some, 'linux/amd64', 'linux/s390x'), false, 'the index has no such platform');
  assert.equal(
    isCovered(index([digest('index'), amd64.digest]), some, 'linux/amd64'),
    false,
    'its attestation is missing',
  );
  assert.equal(
    isCovered(index([amd64.digest, attestation.digest]), some, 'linux/amd64'),
    false,
    'the index itself is lost',
  );
  assert.equal(isCovered(index(some), [digest('index'), amd64.digest], 'linux/amd64'), false, 'not linked (I9)');
  assert.equal(isCovered(index(some), undefined, 'linux/amd64'), false, 'another repository has it, not this one');
});

test('what a registry does not have is left out where an image is complete without it', () => {
  const layer: IndexEntry = { ...manifest('layer'), mediaType: 'application/vnd.oci.image.layer.v1.tar' };
  const nested: IndexEntry = { ...manifest('nested'), mediaType: OCI_INDEX };
  const cases: [IndexEntry, boolean, boolean][] = [
    // Complete for who asks for a platform, and for who asks for everything.
    [attestation, true, true],
    [manifest('without a platform'), true, false],
    [nested, false, false],
    [layer, false, false],
    [{ ...manifest('typeless'), mediaType: OCTET_STREAM }, false, false],
    [manifest('another', 'linux/amd64'), false, false],
  ];
  for (const [entry, forOne, forAll] of cases) {
    const some = [digest('index'), amd64.digest];
    const root = { ...index(some), entries: [amd64, entry] };
    const covered = (skipped: readonly Digest[], ...texts: string[]): boolean =>
      coverage({ root, linked: new Set(some), skipped: new Set(skipped) }, asking(...texts)).complete;
    assert.deepEqual(
      [covered([entry.digest], 'linux/amd64'), covered([entry.digest])],
      [forOne, forAll],
      entry.mediaType,
    );
    assert.deepEqual([covered([], 'linux/amd64'), covered([])], [false, false], entry.mediaType);
    const whole = { ...root, complete: new Set([...some, entry.digest]) };
    const linked = new Set([...some, entry.digest]);
    const { complete, skipped } = coverage(
      { root: whole, linked, skipped: new Set([entry.digest]) },
      asking('linux/amd64'),
    );
    assert.deepEqual([complete, skipped], [true, []], 'what is there was not left out');
  }
});

test('a single image covers its own platform, and several never', () => {
  const linked = [digest('single')];
  assert.equal(isCovered(single('linux/amd64'), linked, 'linux/amd64'), true);
  assert.equal(isCovered(single('linux/amd64'), linked), true);
  assert.equal(isCovered(single('linux/amd64'), linked, 'linux/arm64'), false);
  assert.equal(isCovered(single('linux/amd64'), linked, 'linux/amd64', 'linux/arm64'), false);
  assert.equal(isCovered(single(), linked), true, 'an artifact');
  assert.equal(isCovered(single(), linked, 'linux/amd64'), false, 'an artifact has no platform');
});

test('more in the cache never covers less, and complete means every entry is', () => {
  const digests = [digest('index'), amd64.digest, arm64.digest, attestation.digest];
  const asked = fc.subarray(['linux/amd64', 'linux/arm64', 'linux/s390x']);
  fc.assert(
    fc.property(fc.subarray(digests), fc.subarray(digests), fc.subarray(digests), asked, (has, more, linked, texts) => {
      const less = coverage({ root: index(has), linked: new Set(linked) }, asking(...texts));
      const greater = coverage({ root: index([...has, ...more]), linked: new Set(linked) }, asking(...texts));
      assert.ok(!less.complete || greater.complete);
      assert.ok(!less.complete || less.entries.every(({ complete }) => complete));
    }),
  );
});
