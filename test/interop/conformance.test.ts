import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { digestOf } from '../../lib/oci/digest.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../support/images.ts';
import { startUpstream, type TestUpstream } from '../support/upstream/upstream.ts';
import { startServedCache, type Door, type ServedCache } from './clients/support/served-cache.ts';
import { runConformance, type Conformance, type SuiteName } from './conformance.ts';

const REPORTS = fileURLToPath(new URL('../../dist/conformance', import.meta.url));
const REGISTRY = 'registry.example.test';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

const image = multiArchImage({ name: 'conformance', attestations: true });
const single = noiseImage({ name: 'conformance single' });
const signature = noiseImage({ name: 'conformance signature' });

/** What the specification has tests for, and a cache that is read only cannot be asked to change. */
describe('the conformance suite of the distribution specification, read only, against entrepot serve', () => {
  let upstream: TestUpstream;
  let cache: ServedCache;
  let door: Door;
  const blobs = [...image.blobs.keys(), ...single.blobs.keys()];
  const manifests = [...image.manifests.keys(), single.root.digest, signature.root.digest];
  const repository = `${REGISTRY}/team/app`;

  before(async () => {
    rmSync(REPORTS, { recursive: true, force: true });
    upstream = await startUpstream();
    for (const [one, tag] of [
      [image, 'v1'],
      [single, 'single'],
      [signature, 'signature'],
    ] as const) {
      upstream.addImage('team/app', upstreamImage(one, tag));
    }
    const referrers = {
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [{ ...signature.root, artifactType: 'application/vnd.example.signature' }],
    };
    const schemaTag = single.root.digest.replace(':', '-');
    upstream.putManifest('team/app', schemaTag, Buffer.from(JSON.stringify(referrers)), OCI_INDEX);
    cache = await startServedCache({
      registries: { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } },
    });
    door = await cache.openDoor();
    // The suites ask for blobs first, and a cache brings what belongs to the manifests that it was asked for: all clients begin with one.
    for (const name of [...manifests, 'v1', 'single']) {
      const { status } = await fetch(`http://${door.host}/v2/${repository}/manifests/${name}`);
      assert.equal(status, 200);
    }
  });
  after(async () => {
    await cache[Symbol.asyncDispose]();
    await upstream.close();
  });

  test('as it is now: pull, tags and referrers', async (context) => {
    const counts = await runConformance(
      'current',
      {
        OCI_REGISTRY: door.host,
        OCI_TLS: 'disabled',
        OCI_REPO1: repository,
        OCI_VERSION: '1.1',
        OCI_RESULTS_DIR: join(REPORTS, 'current'),
        OCI_API_PULL: 'true',
        OCI_API_PUSH: 'false',
        OCI_API_BLOBS_DELETE: 'false',
        OCI_API_MANIFESTS_DELETE: 'false',
        OCI_API_TAGS_DELETE: 'false',
        OCI_API_TAGS_LIST: 'true',
        OCI_API_REFERRER: 'true',
        OCI_RO_DATA_TAGS: 'v1 single',
        OCI_RO_DATA_MANIFESTS: manifests.join(' '),
        OCI_RO_DATA_BLOBS: blobs.join(' '),
        OCI_RO_DATA_REFERRERS: single.root.digest,
      },
      join(REPORTS, 'current'),
    );
    report(context, 'current', counts);
  });

  test('as it was before: pull and tags', async (context) => {
    const counts = await runConformance(
      'before',
      {
        OCI_ROOT_URL: `http://${door.host}`,
        OCI_NAMESPACE: repository,
        OCI_REPORT_DIR: join(REPORTS, 'before'),
        OCI_TEST_PULL: '1',
        OCI_TEST_CONTENT_DISCOVERY: '1',
        OCI_TAG_NAME: 'single',
        OCI_MANIFEST_DIGEST: single.root.digest,
        OCI_BLOB_DIGEST: [...single.blobs.keys()][0] ?? digestOf(Buffer.alloc(0)),
        OCI_TAG_LIST: 'single,v1',
      },
      join(REPORTS, 'before'),
      // Five referrers of a manifest that the suite itself has pushed: the other suite takes ours.
      ['-ginkgo.no-color', '-ginkgo.skip', 'listing references.*existing blob'],
    );
    report(context, 'before', counts);
  });
});

/** Fewer would be tests that were skipped, and not seen. */
const LEAST: Readonly<Record<SuiteName, number>> = { current: 50, before: 19 };

function report(
  context: { diagnostic(message: string): void },
  name: SuiteName,
  { output, ...counts }: Conformance,
): void {
  writeFileSync(join(REPORTS, name, 'output.txt'), output);
  const { passed, failed, skipped } = counts;
  context.diagnostic(`${passed} passed, ${failed} failed, ${skipped} skipped: they push or delete`);
  assert.equal(failed, 0, output.slice(-4_000));
  assert.ok(passed >= LEAST[name], 'as many as there were');
}
