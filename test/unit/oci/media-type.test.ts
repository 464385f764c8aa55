import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DOCKER_MANIFEST,
  isForeignLayerType,
  isImageConfigType,
  isSchema1Type,
  MANIFEST_ACCEPT,
  OCI_CONFIG,
} from '../../../lib/oci/media-type.ts';

const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

test('media types', () => {
  assert.ok(isSchema1Type(SCHEMA_1) && isSchema1Type('application/vnd.docker.distribution.manifest.v1+json'));
  assert.ok(!isSchema1Type(DOCKER_MANIFEST));
  assert.ok(
    isForeignLayerType(FOREIGN) && isForeignLayerType('application/vnd.oci.image.layer.nondistributable.v1.tar+zstd'),
  );
  assert.ok(!isForeignLayerType('application/vnd.oci.image.layer.v1.tar'));
  assert.ok(isImageConfigType(OCI_CONFIG) && !isImageConfigType('application/vnd.oci.empty.v1+json'));
  assert.ok(!MANIFEST_ACCEPT.includes('manifest.v1+pretty'), 'schema 1 is not asked for');
});
