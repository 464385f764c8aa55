import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidManifestError } from '../../../lib/errors/cache-error.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { MOST_REFERRERS, parseReferrers, referrersIndex } from '../../../lib/oci/referrers.ts';

const referrer = (name: string) => ({ mediaType: OCI_MANIFEST, digest: digestOf(Buffer.from(name)), size: 7 });
const parse = (document: unknown) => parseReferrers(Buffer.from(JSON.stringify(document)));

test('of each what the specification has, in its order there, and nothing else', () => {
  const full = { ...referrer('a'), artifactType: 'application/spdx+json', annotations: { created: 'today' } };
  const sent = [{ ...full, urls: ['http://evil.example.test/'], data: 'e30=', platform: {} }, referrer('b')];
  assert.deepEqual(parse({ manifests: sent, subject: {}, annotations: {} }), [full, referrer('b')]);
  const odd = { ...referrer('c'), artifactType: '', annotations: { number: 5, text: 'yes', long: 'x'.repeat(4_097) } };
  assert.deepEqual(parse({ manifests: [odd] }), [{ ...referrer('c'), annotations: { text: 'yes' } }]);
  assert.deepEqual(parse({ manifests: [{ ...referrer('d'), annotations: ['x'] }] }), [referrer('d')]);
});

test('one referrer is bounded: of very many annotations the first are kept', () => {
  const annotations = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`${i}`.padStart(96, 'n'), '\0'.repeat(4_000)]),
  );
  const [kept] = parse({ manifests: [{ ...referrer('a'), annotations }] });
  assert.equal(Object.keys(kept?.annotations ?? {}).length, 8);
  assert.ok(Buffer.byteLength(JSON.stringify(kept)) < 256 * 1024, 'however its text is escaped');
});

test('what is no list is refused', () => {
  for (const document of [null, 5, [], {}, { manifests: {} }, { manifests: [null] }, { manifests: [{}] }]) {
    assert.throws(() => parse(document), InvalidManifestError, JSON.stringify(document));
  }
  for (const wrong of [{ digest: 'sha256:abc' }, { size: -1 }, { size: 1.5 }, { size: '7' }, { mediaType: 5 }]) {
    assert.throws(() => parse({ manifests: [{ ...referrer('a'), ...wrong }] }), InvalidManifestError);
  }
  const many = Array.from({ length: MOST_REFERRERS + 1 }, () => referrer('a'));
  assert.throws(() => parse({ manifests: many }), /has 10001 entries, the limit is 10000/);
  assert.throws(() => parseReferrers(Buffer.from([0x7b, 0xff, 0x7d])), /the list of referrers is not JSON/);
});

test('the list of them: each once, the first of the same, in the order of their digests', () => {
  const all = ['a', 'b', 'c', 'd', 'e'].map(referrer);
  const again = { ...referrer('c'), artifactType: 'application/late' };
  const index = referrersIndex([...all.toReversed(), again]);
  assert.deepEqual([index.schemaVersion, index.mediaType], [2, OCI_INDEX]);
  assert.deepEqual(
    index.manifests,
    all.toSorted((one, other) => (one.digest < other.digest ? -1 : 1)),
  );
  assert.deepEqual(referrersIndex([]).manifests, []);
});
