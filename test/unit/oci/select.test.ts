import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { IndexEntry } from '../../../lib/oci/descriptor.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { OCI_INDEX, OCI_MANIFEST, OCTET_STREAM } from '../../../lib/oci/media-type.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import {
  isImageEntry,
  platformName,
  requirePlatforms,
  requireReadable,
  selectEntries,
} from '../../../lib/oci/select.ts';

const digest = (name: string): Digest => digestOf(Buffer.from(name));
const entry = (name: string, more: Partial<IndexEntry> & { on?: string } = {}): IndexEntry => {
  const { on, ...rest } = more;
  const platform = on === undefined ? {} : { platform: parsePlatform(on) };
  return { mediaType: OCI_MANIFEST, digest: digest(name), size: 1, ...platform, ...rest };
};
const platforms = (...texts: string[]) => texts.map((text) => parsePlatform(text));

const amd64 = entry('amd64', { on: 'linux/amd64' });
const arm64 = entry('arm64', { on: 'linux/arm64/v8' });
const ofAmd64 = entry('attests amd64', { attests: amd64.digest });
const ofArm64 = entry('attests arm64', { attests: arm64.digest });
const bare = entry('without platform');
const ofBare = entry('attests bare', { attests: bare.digest });
const nested = entry('nested', { mediaType: OCI_INDEX, on: 'linux/s390x' });
const all = [amd64, arm64, ofAmd64, ofArm64, bare, ofBare, nested];

test('none asked means all', () => {
  assert.deepEqual(selectEntries(all, []), { selected: all, missing: [] });
});

test('a platform takes its attestations along, and what has no platform', () => {
  assert.deepEqual(selectEntries(all, platforms('linux/amd64')), {
    selected: [amd64, ofAmd64, bare, ofBare, nested],
    missing: [],
  });
});

test('a nested index goes along, whatever platform its entry claims, and answers for none', () => {
  const { selected, missing } = selectEntries(all, platforms('linux/s390x'));
  assert.deepEqual(selected, [bare, ofBare, nested]);
  assert.deepEqual(missing, platforms('linux/s390x'));
});

test('every match is taken', () => {
  const windows = [1, 2].map((n) => entry(`windows ${n}`, { on: 'windows/amd64' }));
  assert.deepEqual(selectEntries(windows, platforms('windows/amd64')).selected, windows);
});

test('an attestation does not answer for a platform, even where its entry has one', () => {
  const odd = entry('odd', { attests: digest('elsewhere'), on: 'linux/amd64' });
  assert.deepEqual(selectEntries([odd], platforms('linux/amd64')), { selected: [], missing: platforms('linux/amd64') });
});

test('what is missing is named, with what there is, each once and sorted', () => {
  const entries = [arm64, amd64, entry('again', { on: 'linux/x86_64' }), ofAmd64, nested];
  assert.throws(() => requirePlatforms('docker.io/library/app:v1', entries, platforms('linux/amd64', 'linux/arm/v7')), {
    name: 'PlatformMissingError',
    code: 'MANIFEST_UNKNOWN',
    message:
      'docker.io/library/app:v1 has no linux/arm/v7; it has linux/amd64, linux/arm64. Nothing was copied; ask for one of these',
  });
  assert.throws(() => requirePlatforms('app', [bare], platforms('linux/amd64')), /it has no platforms at all/);
  requirePlatforms('app', entries, platforms('linux/amd64'));
  requirePlatforms('app', [], []);
});

test('an entry that cannot be read stops only who asks for it, by name', () => {
  const unknown = entry('odd', { on: 'unknown/unknown', fault: '"manifests[1].size" is missing' });
  const old = entry('old', { on: 'linux/s390x', fault: 'is schema 1' });
  const attestation = entry('broken', { attests: amd64.digest, on: 'unknown/unknown', fault: 'is broken' });
  const entries = [amd64, unknown, old, attestation];
  const ask = (...texts: string[]): void => {
    const { selected, missing } = selectEntries(entries, platforms(...texts));
    assert.deepEqual(missing, []);
    requireReadable('app:v1', selected);
  };
  ask('linux/amd64');
  assert.throws(() => ask(), {
    name: 'InvalidManifestError',
    message:
      'app:v1: unknown cannot be pulled: "manifests[1].size" is missing (and 1 more). Ask for the other platforms with --platform',
  });
  assert.throws(() => ask('linux/amd64', 'linux/s390x'), /app:v1: linux\/s390x cannot be pulled: is schema 1/);
  assert.throws(
    () => requirePlatforms('app', entries, platforms('linux/arm64')),
    /has no linux\/arm64; it has linux\/amd64\. /,
  );
  assert.deepEqual(entries.filter(isImageEntry), [amd64]);
  assert.deepEqual([unknown, old].map(platformName), ['unknown', 'linux/s390x']);
});

test('names of entries', () => {
  assert.equal(platformName(arm64), 'linux/arm64');
  assert.equal(platformName(bare), 'unknown');
  assert.deepEqual(all.filter(isImageEntry), [amd64, arm64, bare]);
  const other = (mediaType: string, on?: string) =>
    entry(mediaType, { mediaType, ...(on === undefined ? {} : { on }) });
  const listed = [
    other('application/vnd.oci.image.layer.v1.tar'),
    other('text/plain', 'linux/amd64'),
    other(OCTET_STREAM),
  ];
  assert.deepEqual(listed.filter(isImageEntry), listed.slice(1), 'a layer is no image');
});

test('asking for more never takes less, and nothing is invented', () => {
  const some = fc.subarray(all);
  const asked = fc.uniqueArray(fc.constantFrom('linux/amd64', 'linux/arm64', 'linux/arm64/v9', 'linux/s390x'), {
    minLength: 1,
  });
  fc.assert(
    fc.property(some, asked, asked, (entries, a, b) => {
      const less = selectEntries(entries, platforms(...a));
      const more = selectEntries(entries, platforms(...a, ...b));
      assert.ok(less.selected.every((one) => more.selected.includes(one)));
      assert.ok(more.selected.every((one) => entries.includes(one)));
      // An attestation never comes without the manifest that it describes.
      for (const { attests } of more.selected) {
        if (attests !== undefined) assert.ok(more.selected.some((one) => one.digest === attests));
      }
    }),
  );
});
