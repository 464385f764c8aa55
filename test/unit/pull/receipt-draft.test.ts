import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Root } from '../../../lib/catalog/catalog.ts';
import type { Descriptor, IndexEntry } from '../../../lib/oci/descriptor.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import { draftPresent, receiptDraft } from '../../../lib/pull/receipt-draft.ts';
import { skippedEntry, skippedLayer } from '../../../lib/pull/skipped.ts';
import { parseReference } from '../../../lib/reference/reference.ts';

const reference = parseReference('alpine');
const blob = (name: string, size: number): Descriptor => ({
  mediaType: 'application/x',
  digest: digestOf(Buffer.from(name)),
  size,
});
const amd64: IndexEntry = { ...blob('amd64', 7), mediaType: OCI_MANIFEST, platform: parsePlatform('linux/amd64') };
const attestation: IndexEntry = { ...blob('attestation', 7), mediaType: OCI_MANIFEST, attests: amd64.digest };
const bare: IndexEntry = { ...blob('bare', 7), mediaType: OCI_MANIFEST };
const nothing = { total: 0, present: 0, copied: 0, copiedElsewhere: 0 };

test('a pull that was stopped before it knew anything says so', () => {
  const times = [1_000, 1_234.4];
  const draft = receiptDraft(reference, () => times.shift()!);
  assert.deepEqual(draft.finish('partial'), {
    reference: 'docker.io/library/alpine:latest',
    digest: null,
    mediaType: null,
    outcome: 'partial',
    platforms: [],
    blobs: nothing,
    bytes: nothing,
    registryRequests: { total: 0, ping: 0, token: 0, manifest: 0, blob: 0, redirected: 0 },
    skipped: [],
    durationMs: 234,
  });
});

test('the first word on a blob stands, and platforms are complete when they are said to be', () => {
  const draft = receiptDraft(reference);
  const [config, layer, late, left] = [blob('config', 10), blob('layer', 100), blob('late', 1_000), blob('left', 7)];
  draft.resolved(amd64);
  draft.blob(config, 'copied');
  draft.planned({
    blobs: [config, layer, late, left],
    skipped: [skippedEntry(attestation)],
    selected: [amd64, attestation, bare],
  });
  draft.blob(config, 'present');
  draft.blob(layer, 'copiedElsewhere');
  draft.absent(left, [skippedLayer(left)]);
  draft.absent(left, [skippedLayer(left)]);
  const partial = draft.finish('partial');
  assert.deepEqual(partial.blobs, { total: 3, present: 0, copied: 1, copiedElsewhere: 1 });
  assert.deepEqual(partial.bytes, { total: 1_110, present: 0, copied: 10, copiedElsewhere: 100 });
  assert.deepEqual(partial.platforms, [
    { platform: 'linux/amd64', digest: amd64.digest, complete: false },
    { platform: 'unknown', digest: bare.digest, complete: false },
  ]);
  assert.deepEqual(partial.skipped, [
    {
      ...blob('attestation', 7),
      mediaType: OCI_MANIFEST,
      reason: `attestation of ${amd64.digest}: its registry does not have it, or not all of it, any more`,
    },
    { ...left, reason: 'foreign layer: its registry does not hold it, and urls are not followed' },
  ]);
  draft.blob(late, 'copied');
  draft.covered({ entries: [{ entry: amd64, complete: true }] });
  const requests = { total: 3, ping: 0, token: 0, manifest: 1, blob: 2, redirected: 0 };
  const done = draft.finish('pulled', requests);
  assert.deepEqual([done.digest, done.mediaType, done.outcome], [amd64.digest, OCI_MANIFEST, 'pulled']);
  assert.deepEqual(done.platforms, [{ platform: 'linux/amd64', digest: amd64.digest, complete: true }]);
  assert.deepEqual(done.registryRequests, requests);
  assert.notEqual(done.registryRequests, requests, 'later requests do not change a receipt');
});

test('what was brought before the plan was made counts as wanted', () => {
  const draft = receiptDraft(reference);
  draft.blob(blob('config', 10), 'copied');
  assert.deepEqual(draft.finish('partial').blobs, { ...nothing, total: 1, copied: 1 });
});

test('the tallies never add up to more than the total, and to just that when every blob was told', () => {
  const outcomes = fc.constantFrom('present', 'copied', 'copiedElsewhere', undefined);
  const all = fc.uniqueArray(fc.tuple(fc.nat(30), fc.nat(1_000), outcomes), { selector: ([name]) => name });
  fc.assert(
    fc.property(all, (blobs) => {
      const draft = receiptDraft(reference);
      const described = blobs.map(([name, size]) => blob(String(name), size));
      draft.planned({ blobs: described, skipped: [], selected: [] });
      blobs.forEach(([, , outcome], i) => outcome !== undefined && draft.blob(described[i]!, outcome));
      const receipt = draft.finish('partial');
      assert.equal(
        receipt.bytes.total,
        blobs.reduce((sum, [, size]) => sum + size, 0),
      );
      for (const { total, present, copied, copiedElsewhere } of [receipt.blobs, receipt.bytes]) {
        assert.ok(present + copied + copiedElsewhere <= total);
        if (blobs.every(([, , outcome]) => outcome !== undefined))
          assert.equal(present + copied + copiedElsewhere, total);
      }
    }),
  );
});

test('a hit counts what the wanted entries hold, shared content once', () => {
  const shared = { id: 'shared', size: 500 };
  const root: Root = {
    ...blob('index', 9),
    mediaType: OCI_INDEX,
    entries: [amd64, attestation, bare],
    complete: new Set(),
    contents: new Map([
      [amd64.digest, [shared, { id: 'own', size: 20 }]],
      [attestation.digest, [shared, { id: 'statement', size: 3 }]],
      [bare.digest, [{ id: 'not wanted', size: 1_000 }]],
    ]),
    foreign: [],
  };
  const draft = receiptDraft(reference);
  const layer = { ...blob('foreign', 1_000), entry: amd64.digest };
  const lacking = skippedLayer(blob('lacking', 1));
  draftPresent(draft, root, {
    complete: true,
    layers: [{ layer, complete: true }],
    skipped: [lacking],
    entries: [amd64, attestation].map((entry) => ({ entry, complete: true })),
  });
  const hit = draft.finish('hit');
  assert.deepEqual(hit.blobs, { total: 4, present: 4, copied: 0, copiedElsewhere: 0 });
  assert.equal(hit.bytes.present, 1_523);
  assert.deepEqual(hit.skipped, [lacking]);
  assert.equal(hit.digest, root.digest);
  assert.deepEqual(hit.platforms, [{ platform: 'linux/amd64', digest: amd64.digest, complete: true }]);
});
