import assert from 'node:assert/strict';
import { test } from 'node:test';
import { receiptLines } from '../../../lib/cli/pull.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';

const [INDEX, CHILD, LAYER] = ['index', 'child', 'layer'].map((text) => digestOf(Buffer.from(text))) as [
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
];

const RECEIPT: Receipt = {
  reference: 'docker.io/library/alpine:3.20',
  digest: INDEX,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  outcome: 'pulled',
  platforms: [{ platform: 'linux/amd64', digest: CHILD, complete: true }],
  blobs: { total: 9, present: 4, copied: 4, copiedElsewhere: 1 },
  bytes: { total: 9 * 1024, present: 4096, copied: 4096, copiedElsewhere: 1024 },
  registryRequests: { total: 7, ping: 1, token: 1, manifest: 2, blob: 3, redirected: 0 },
  skipped: [{ digest: LAYER, mediaType: 'application/x', size: 10, reason: 'a foreign layer' }],
  durationMs: 1234,
};

test('a receipt for a human says everything that the document says', () => {
  assert.deepEqual(receiptLines(RECEIPT), [
    'docker.io/library/alpine:3.20: pulled',
    `  digest     ${INDEX}`,
    `  platform   linux/amd64    ${CHILD} complete`,
    `  skipped    ${LAYER} application/x, 10 bytes: a foreign layer`,
    '  blobs      9 blobs (9.0 KiB), 4 present, 4 copied (4.0 KiB), 1 by another pull (1.0 KiB)',
    '  registry   7 requests, 1.2 s',
  ]);
});

test('a partial receipt may not know the digest yet, and says that it can be continued', () => {
  const lines = receiptLines({ ...RECEIPT, outcome: 'partial', digest: null, platforms: [], skipped: [] });
  assert.match(lines[0] ?? '', /stopped before it was complete/);
  assert.equal(lines.length, 3);
});
