import { InvalidManifestError } from '../errors/cache-error.ts';
import type { Descriptor, IndexEntry } from './descriptor.ts';
import { isDigest, type Digest } from './digest.ts';
import {
  isForeignLayerType,
  isIndexType,
  isManifestOrIndexType,
  isManifestType,
  isSchema1Type,
  OCI_INDEX,
  OCI_MANIFEST,
  OCTET_STREAM,
} from './media-type.ts';
import { normalisePlatform, type Platform } from './platform.ts';

/** Bounds that hold before anything of a manifest is followed. */
export interface ManifestLimits {
  /** Descriptors in one manifest or index. */
  readonly fanOut: number;
}

/** https://github.com/opencontainers/image-spec/blob/main/image-index.md, and Docker's schema 2 manifest list. */
export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
}

/** https://github.com/opencontainers/image-spec/blob/main/manifest.md, Docker's schema 2 manifest, and artifact manifests. */
export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config?: Descriptor;
  /** Layers, or the `blobs` of an artifact manifest. Foreign layers are not among them. */
  readonly layers: readonly Descriptor[];
  /** Layers of a foreign type with `urls`: a registry need not hold them, and `urls` are never followed (I8). */
  readonly foreignLayers: readonly Descriptor[];
}

/** https://www.rfc-editor.org/rfc/rfc6838#section-4.2: two names of at most 127 characters. Rows keep them, so they are bounded. */
const MAX_MEDIA_TYPE_CHARACTERS = 255;
/** The same for each part of a platform; a request cannot ask for longer ones. */
const MAX_PLATFORM_CHARACTERS = 64;

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The manifest or index in `bytes`. Its kind is decided by the `mediaType` inside, then by `contentType`, then by its fields
 * (OCI manifests may lack `mediaType`: https://github.com/opencontainers/image-spec/blob/main/manifest.md#image-manifest-property-descriptions).
 *
 * @throws InvalidManifestError for anything else, with the place that is wrong; for schema 1 with what to do.
 */
export function parseManifest(
  bytes: Uint8Array,
  contentType: string | undefined,
  limits: ManifestLimits,
): Index | Manifest {
  const document = parseDocument(bytes);
  const mediaType = mediaTypeOf(document, contentType);
  if (isIndexType(mediaType)) {
    if ('layers' in document || 'config' in document) {
      throw new InvalidManifestError(`an index (${mediaType}) must not have "layers" or "config" beside "manifests"`);
    }
    const entries = descriptors(document.manifests, 'manifests', limits).map(indexEntry);
    return { kind: 'index', mediaType, entries };
  }
  if (isManifestType(mediaType)) {
    if ('manifests' in document) {
      throw new InvalidManifestError(`a manifest (${mediaType}) must not have "manifests" beside its layers`);
    }
    const artifactBlobs = document.blobs !== undefined && document.layers === undefined;
    const all = descriptors(
      document[artifactBlobs ? 'blobs' : 'layers'] ?? [],
      artifactBlobs ? 'blobs' : 'layers',
      limits,
    );
    const config = document.config === undefined ? undefined : descriptor(document.config, 'config');
    const isForeign = (layer: { json: Json; descriptor: Descriptor }): boolean =>
      isForeignLayerType(layer.descriptor.mediaType) && Array.isArray(layer.json.urls) && layer.json.urls.length > 0;
    return {
      kind: 'manifest',
      mediaType,
      ...(config === undefined ? {} : { config }),
      layers: all.filter((layer) => !isForeign(layer)).map((layer) => layer.descriptor),
      foreignLayers: all.filter(isForeign).map((layer) => layer.descriptor),
    };
  }
  throw new InvalidManifestError(
    `media type ${JSON.stringify(mediaType.slice(0, 200))} is neither a manifest nor an index that Entrepot knows (OCI, Docker schema 2)`,
  );
}

function parseDocument(bytes: Uint8Array): Json {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new InvalidManifestError('the manifest is not JSON in UTF-8', cause);
  }
  if (!isObject(document)) throw new InvalidManifestError('the manifest is not a JSON object');
  return document;
}

function mediaTypeOf(document: Json, contentType: string | undefined): string {
  const inside = document.mediaType;
  if (inside !== undefined && typeof inside !== 'string') throw new InvalidManifestError('"mediaType" is not a string');
  const outside = contentType?.split(';')[0]?.trim().toLowerCase();
  if (isSchema1Type(inside ?? outside ?? '') || document.schemaVersion === 1) {
    throw new InvalidManifestError(
      'this is a Docker schema 1 manifest, which has no descriptors to verify blobs by; push the image again with a current client (schema 2 or OCI)',
    );
  }
  if (document.schemaVersion !== undefined && document.schemaVersion !== 2) {
    throw new InvalidManifestError(`"schemaVersion" is ${shown(document.schemaVersion)}, must be 2`);
  }
  if (inside !== undefined) return inside;
  if (outside !== undefined && isManifestOrIndexType(outside)) return outside;
  if (Array.isArray(document.manifests)) return OCI_INDEX;
  if (isObject(document.config) || Array.isArray(document.layers)) return OCI_MANIFEST;
  throw new InvalidManifestError('the manifest has no "mediaType", and neither "manifests" nor "config" or "layers"');
}

function descriptors(value: unknown, at: string, limits: ManifestLimits): { json: Json; descriptor: Descriptor }[] {
  if (!Array.isArray(value)) throw new InvalidManifestError(`"${at}" is not a list`);
  if (value.length > limits.fanOut) {
    throw new InvalidManifestError(
      `"${at}" has ${value.length} entries, the limit is ${limits.fanOut} (limits.fanOut in the configuration)`,
    );
  }
  return value.map((json: unknown, i) => ({ json: json as Json, descriptor: descriptor(json, `${at}[${i}]`) }));
}

function descriptor(json: unknown, at: string): Descriptor {
  if (!isObject(json)) throw new InvalidManifestError(`"${at}" is not a descriptor`);
  const { mediaType, digest, size } = json;
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw new InvalidManifestError(`"${at}.digest" is ${shown(digest)}, must be sha256:<64 lower-case hex digits>`);
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new InvalidManifestError(`"${at}.size" is ${shown(size)}, must be a whole number of bytes`);
  }
  if (mediaType !== undefined && (typeof mediaType !== 'string' || mediaType.length > MAX_MEDIA_TYPE_CHARACTERS)) {
    throw new InvalidManifestError(
      `"${at}.mediaType" is not a string of at most ${MAX_MEDIA_TYPE_CHARACTERS} characters`,
    );
  }
  return { mediaType: mediaType ?? OCTET_STREAM, digest, size };
}

/** Scalars as they are. Others by name: what is nested a million deep could not be turned into text again. */
function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return JSON.stringify(value).slice(0, 200);
}

function indexEntry(entry: { json: Json; descriptor: Descriptor }, i: number): IndexEntry {
  const { mediaType } = entry.descriptor;
  if (isSchema1Type(mediaType)) {
    throw new InvalidManifestError(
      `"manifests[${i}]" is a Docker schema 1 manifest; push the image again with a current client`,
    );
  }
  const annotations = isObject(entry.json.annotations) ? entry.json.annotations : {};
  if (annotations['vnd.docker.reference.type'] === 'attestation-manifest') {
    const described = annotations['vnd.docker.reference.digest'];
    if (typeof described === 'string' && isDigest(described)) return { ...entry.descriptor, attests: described };
  }
  const platform = platformOf(entry.json.platform, `manifests[${i}].platform`);
  return platform === undefined ? entry.descriptor : { ...entry.descriptor, platform };
}

function platformOf(json: unknown, at: string): Platform | undefined {
  if (json === undefined || json === null) return undefined;
  if (!isObject(json) || typeof json.os !== 'string' || typeof json.architecture !== 'string') {
    throw new InvalidManifestError(`"${at}" must have "os" and "architecture"`);
  }
  // BuildKit writes unknown/unknown where there is no platform to speak of.
  if (json.os === json.architecture && (json.os === '' || json.os === 'unknown')) return undefined;
  const variant = json.variant;
  for (const part of [json.os, json.architecture, variant]) {
    if (typeof part !== 'string' || part.length <= MAX_PLATFORM_CHARACTERS) continue;
    throw new InvalidManifestError(`"${at}" has a part of more than ${MAX_PLATFORM_CHARACTERS} characters`);
  }
  return normalisePlatform({
    os: json.os,
    architecture: json.architecture,
    ...(typeof variant === 'string' && variant !== '' ? { variant } : {}),
  });
}

/**
 * The platform that an image's config states, if it states one.
 * https://github.com/opencontainers/image-spec/blob/main/config.md#properties
 */
export function platformOfConfig(bytes: Uint8Array): Platform | undefined {
  const { os, architecture, variant } = parseDocument(bytes);
  return typeof os === 'string' && typeof architecture === 'string'
    ? platformOf({ os, architecture, variant }, 'config')
    : undefined;
}

/** Every blob of a manifest that the cache keeps, config first, each digest once. */
export function blobsOf(manifest: Manifest): Descriptor[] {
  const byDigest = new Map<Digest, Descriptor>();
  for (const blob of manifest.config === undefined ? manifest.layers : [manifest.config, ...manifest.layers]) {
    const known = byDigest.get(blob.digest);
    if (known !== undefined && known.size !== blob.size) {
      throw new InvalidManifestError(
        `the manifest gives blob ${blob.digest} two sizes, ${known.size} and ${blob.size}`,
      );
    }
    if (known === undefined) byDigest.set(blob.digest, blob);
  }
  return [...byDigest.values()];
}
