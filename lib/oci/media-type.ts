export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_ARTIFACT_MANIFEST = 'application/vnd.oci.artifact.manifest.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
export const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';

/** The `Accept` of our requests to upstreams, never the client's (I8). Without schema 1. */
export const MANIFEST_ACCEPT = [
  OCI_INDEX,
  OCI_MANIFEST,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  OCI_ARTIFACT_MANIFEST,
  '*/*;q=0.1',
].join(', ');

export const isIndexType = (mediaType: string): boolean => mediaType === OCI_INDEX || mediaType === DOCKER_LIST;

export const isManifestType = (mediaType: string): boolean =>
  mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST || mediaType === OCI_ARTIFACT_MANIFEST;

/** Docker schema 1, signed or not. It has no descriptors, so its blobs cannot be verified. */
export const isSchema1Type = (mediaType: string): boolean =>
  /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)$/.test(mediaType);

/** A config that states the image's platform. */
export const isImageConfigType = (mediaType: string): boolean =>
  mediaType === OCI_CONFIG || mediaType === DOCKER_CONFIG;

/** Layers that a registry need not hold: https://github.com/opencontainers/image-spec/blob/main/layer.md#non-distributable-layers */
export const isForeignLayerType = (mediaType: string): boolean =>
  mediaType.startsWith('application/vnd.oci.image.layer.nondistributable.') ||
  mediaType.startsWith('application/vnd.docker.image.rootfs.foreign.');

/** Media types of answers to a manifest request. */
export const isManifestOrIndexType = (mediaType: string): boolean =>
  isManifestType(mediaType) || isIndexType(mediaType);

/** Valid by https://www.rfc-editor.org/rfc/rfc6838#section-4.2, so safe in a header. */
export const isMediaType = (text: string): boolean => /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}$/.test(text);

/** For bytes of unknown type: RFC 2046, section 4.5.1. */
export const OCTET_STREAM = 'application/octet-stream';
