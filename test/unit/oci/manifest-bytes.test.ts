import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CacheError } from '../../../lib/errors/cache-error.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { parseManifest } from '../../../lib/oci/manifest.ts';
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';

const LIMITS = { fanOut: 10 };
const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';

const blob = { mediaType: 'application/x', digest: digestOf(Buffer.from('a')), size: 10 };
const bytesOf = (document: unknown): Uint8Array =>
  Buffer.from(typeof document === 'string' ? document : JSON.stringify(document));

describe('bytes of any kind', () => {
  const onPurpose = (bytes: Uint8Array, contentType?: string): void => {
    try {
      parseManifest(bytes, contentType, LIMITS);
    } catch (error) {
      assert.ok(error instanceof CacheError, String(error));
      assert.ok(error.message.length < 1_000);
    }
  };
  const types = fc.constantFrom(
    undefined,
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    SCHEMA_1,
    'text/html',
    '',
  );

  test('that are garbage are refused on purpose', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), types, onPurpose), { numRuns: 300 });
    assert.throws(() => parseManifest(bytesOf(''), undefined, LIMITS), /the manifest is not JSON/);
    assert.throws(() => parseManifest(bytesOf('[]'), undefined, LIMITS), /not a JSON object/);
    assert.throws(() => parseManifest(bytesOf('null'), undefined, LIMITS), /not a JSON object/);
    assert.throws(() => parseManifest(bytesOf('{"a":1} trailing'), undefined, LIMITS), /not JSON/);
    assert.throws(() => parseManifest(Buffer.from([0x7b, 0xff, 0x7d]), undefined, LIMITS), /the manifest is not JSON/);
  });

  test('that are odd JSON are refused on purpose', () => {
    const any = fc.jsonValue({ maxDepth: 3 });
    const descriptor = fc.record(
      {
        mediaType: fc.oneof(types, any),
        digest: fc.oneof(fc.constant(blob.digest), any),
        size: fc.oneof(fc.integer(), fc.double(), any),
        urls: any,
        platform: fc.oneof(fc.record({ os: any, architecture: any, variant: any }), any),
        annotations: any,
      },
      { requiredKeys: [] },
    );
    const list = fc.oneof(fc.array(descriptor, { maxLength: 12 }), any);
    const document = fc.record(
      {
        schemaVersion: fc.constantFrom(1, 2, 3, '2', null),
        mediaType: fc.oneof(types, any),
        config: fc.oneof(descriptor, any),
        layers: list,
        manifests: list,
        blobs: list,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(document, types, (json, type) => onPurpose(bytesOf(json), type)),
      { numRuns: 500 },
    );
  });

  test('that are nested without end are refused on purpose', () => {
    const deep = '['.repeat(200_000) + ']'.repeat(200_000);
    for (const field of ['digest', 'size', 'mediaType']) {
      const layer = JSON.stringify({ ...blob, [field]: 'DEEP' }).replace('"DEEP"', deep);
      onPurpose(bytesOf(`{"mediaType":"${OCI_MANIFEST}","layers":[${layer}]}`));
    }
    onPurpose(bytesOf(`{"schemaVersion":${deep}}`));
    onPurpose(bytesOf(`{"mediaType":${deep}}`));
    onPurpose(bytesOf(deep));
  });
});
