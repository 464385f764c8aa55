import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { PUBLIC } from '../../../lib/reference/trust-domain.ts';
import { formatPlan, parsePlan, type PlanDocument } from '../../../lib/jobs/plan-document.ts';
import { NO_REQUESTS } from '../../../lib/pull/receipt.ts';

const descriptor = (name: string, size: number): Descriptor => ({
  digest: digestOf(Buffer.from(name)),
  size,
  mediaType: `application/vnd.example.${name}`,
});
const [root, child, config, layer, attestation] = [
  descriptor('index', 500),
  descriptor('manifest', 400),
  descriptor('config', 30),
  descriptor('layer', 0),
  descriptor('attestation', 200),
] as const;
const foreign = { ...descriptor('foreign', 9), entry: child.digest };

const PLAN: PlanDocument = {
  id: '6c1b0d0e-0000-4000-8000-000000000001',
  lock: { name: 'pull:registry.example.test/team/app:v1', holder: 'somebody', generation: 7 },
  domain: PUBLIC,
  content: {
    root,
    manifests: [child],
    entries: [
      { ...child, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } },
      { ...attestation, platform: { os: 'unknown', architecture: 'unknown' }, attests: child.digest },
    ],
    contents: new Map([[child.digest, [config, layer]]]),
    blobs: [config, layer],
    foreign: [foreign],
    optional: [attestation.digest],
    skipped: [attestation.digest],
  },
  batches: [[layer], [config]],
  context: {
    pointer: { generation: 3, published: root.digest, publishedMs: 1, resolved: child.digest, checkedMs: 2 },
    checkedMs: 1735689600000,
    epoch: 0,
  },
  unchanged: true,
  receipt: {
    reference: 'registry.example.test/team/app:v1',
    digest: root.digest,
    mediaType: root.mediaType,
    outcome: 'pulled',
    platforms: [{ platform: 'linux/arm/v7', digest: child.digest, complete: true }],
    blobs: { total: 2, present: 0, copied: 0, copiedElsewhere: 0 },
    bytes: { total: 30, present: 0, copied: 0, copiedElsewhere: 0 },
    registryRequests: NO_REQUESTS,
    skipped: [{ digest: foreign.digest, mediaType: foreign.mediaType, size: 9, reason: 'foreign layer' }],
    durationMs: 12,
  },
};

/** The row of its pull, as the tasks read it. */
const RECORD = {
  id: PLAN.id,
  request: {
    reference: parseReference('registry.example.test/team/app:v1'),
    platforms: [],
    alwaysPull: false,
    attestations: true,
  },
};

/** The document, changed as JSON. */
function changed(change: (document: Record<string, Record<string, unknown>>) => void): Uint8Array {
  const document = JSON.parse(Buffer.from(formatPlan(PLAN)).toString()) as Record<string, Record<string, unknown>>;
  change(document);
  return Buffer.from(JSON.stringify(document));
}

describe('a plan document', () => {
  test('comes back as it was written', () => {
    assert.deepEqual(parsePlan(formatPlan(PLAN), 'key', RECORD), PLAN);
    const first = { ...PLAN, context: { checkedMs: 1, epoch: 0, pointer: undefined } };
    assert.deepEqual(parsePlan(formatPlan(first), 'key', RECORD), first);
    const { context: _, content, ...plan } = PLAN;
    const { root: __, ...alone } = { ...content, manifests: [], entries: [], contents: new Map(), foreign: [] };
    const blobAlone = { ...plan, content: alone };
    assert.deepEqual(parsePlan(formatPlan(blobAlone), 'key', RECORD), blobAlone);
  });

  test('of a thousand manifests and ten thousand blobs is well below its limit', () => {
    const blobs = Array.from({ length: 10_000 }, (_, i) => descriptor(`blob ${i}`, i));
    const entries = Array.from({ length: 1_000 }, (_, i) => descriptor(`entry ${i}`, i));
    const contents = new Map(entries.map(({ digest }, i) => [digest, blobs.slice(i * 10, i * 10 + 10)]));
    const content = { ...PLAN.content, blobs, entries, manifests: entries, contents };
    const bytes = formatPlan({ ...PLAN, content, batches: [blobs] });
    assert.ok(bytes.byteLength < 4 * 1024 * 1024, `${bytes.byteLength} bytes`);
  });

  const broken: [string, Uint8Array, RegExp][] = [
    ['of another pull', formatPlan({ ...PLAN, id: 'another' }), /plan\.id is not that of pull/],
    ['of another version', changed((plan) => Object.assign(plan, { version: 2 })), /plan\.version is not 1/],
    ['that is cut off', formatPlan(PLAN).subarray(0, 100), /is not a valid plan: /],
    ['that is a list', Buffer.from('[]'), /plan is not an object/],
    [
      'with a root and without what is known of it',
      changed((plan) => delete plan.context),
      /plan\.context is not that of a root/,
    ],
    ['without a lock', changed((plan) => delete plan.lock), /plan\.lock is not an object/],
    [
      'with a blob that is none',
      changed((plan) => Object.assign(plan, { batches: [[2]] })),
      /position 2 is not below 2/,
    ],
    [
      'with a digest of another kind',
      changed((plan) => Object.assign(plan.content!.root as object, { digest: 'sha512:00' })),
      /plan\.content\.root\.digest is not a digest/,
    ],
    [
      'with a size below 0',
      changed((plan) => Object.assign(plan.content!.root as object, { size: -1 })),
      /plan\.content\.root\.size is not a whole number/,
    ],
  ];
  for (const [what, bytes, message] of broken) {
    test(`${what} is refused, and no retry mends it`, () => {
      assert.throws(() => parsePlan(bytes, 'plans/x/1.json', RECORD), {
        name: 'StoreError',
        message,
        retryable: false,
      });
    });
  }

  for (const other of [
    'registry.example.test/team/app:v2',
    'registry.example.test/team/other:v1',
    `registry.example.test/team/app@${root.digest}`,
  ]) {
    test(`is not carried out for ${other}, which its row says since`, () => {
      const record = { ...RECORD, request: { ...RECORD.request, reference: parseReference(other) } };
      assert.throws(() => parsePlan(formatPlan(PLAN), 'plans/x/1.json', record), {
        name: 'StoreError',
        message: /plan\.lock\.name is not pull:registry\.example\.test/,
        retryable: false,
      });
    });
  }
});
