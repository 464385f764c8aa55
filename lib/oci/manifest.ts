import { InvalidManifestError } from '../errors/cache-error.ts';
import {
  type Descriptor,
  type IndexEntry,
  inlineData,
  isObject,
  type JsonObject,
  mediaTypeIn,
  parseDescriptor,
  parseJson,
  shownValue,
} from './descriptor.ts';
import { digestOf, isDigest, type Digest } from './digest.ts';
import {
  isForeignLayerType,
  isIndexType,
  isManifestOrIndexType,
  isManifestType,
  isMediaType,
  isSchema1Type,
  OCI_INDEX,
  OCI_MANIFEST,
  OCTET_STREAM,
} from './media-type.ts';
import { normalisePlatform, type Platform } from './platform.ts';

/** Limits that are checked before anything in a manifest is used. */
interface ManifestLimits {
  /** Descriptors in one manifest or index. */
  readonly fanOut: number;
}

/** https://github.com/opencontainers/image-spec/blob/main/image-index.md, and Docker's schema 2 manifest list. */
export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
  /** Manifests embedded in the index, verified. */
  readonly inline?: InlineContent;
}

/** Content embedded in descriptors (`data`), verified. Anyone who may read the document may read it. */
export type InlineContent = ReadonlyMap<Digest, Uint8Array>;

/** https://github.com/opencontainers/image-spec/blob/main/manifest.md, Docker's schema 2 manifest, and artifact manifests. */
export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config?: Descriptor;
  /** Layers, or the `blobs` of an artifact manifest. Foreign layers are not among them. */
  readonly layers: readonly Descriptor[];
  /** Of an unknown type: stored as it is, and not searched for blobs. */
  readonly opaque?: true;
  /** Layers of a foreign type with `urls`, which are never followed (I8). Registries need not hold such layers. */
  readonly foreignLayers: readonly Descriptor[];
  /** Configs and layers embedded in the manifest, verified. */
  readonly inline?: InlineContent;
}

/** For each part of a platform, as in requests. Rows store them, so they are bounded. */
const MAX_PLATFORM_CHARACTERS = 64;

/**
 * The manifest or index in `bytes`. Its kind is decided by the `mediaType` inside, then by `contentType`, then by its fields
 * (OCI manifests may lack `mediaType`: https://github.com/opencontainers/image-spec/blob/main/manifest.md#image-manifest-property-descriptions).
 *
 * @throws InvalidManifestError for anything else, naming the field that is wrong; for schema 1, what to do instead.
 */
export function parseManifest(
  bytes: Uint8Array,
  contentType: string | undefined,
  limits: ManifestLimits,
): Index | Manifest {
  const document = parseDocument(bytes);
  const mediaType = mediaTypeOf(document, contentType);
  if (isIndexType(mediaType)) {
    if (has(document, 'layers') || has(document, 'config')) {
      throw new InvalidManifestError(`an index (${mediaType}) must not have "layers" or "config" beside "manifests"`);
    }
    // Null means an empty list. A document without the field is not an index, whatever its content type says.
    if (!('manifests' in document)) throw new InvalidManifestError('"manifests" is not a list');
    const items = listOf(document, 'manifests', limits);
    const entries = items.map(indexEntry);
    return { kind: 'index', mediaType, entries, ...inlineOf(items, entries) };
  }
  if (isManifestType(mediaType)) {
    // Other JSON must not pass for an image without layers, whatever its content type says.
    if (mediaTypeIn(document) === undefined && !['config', 'layers', 'blobs'].some((field) => field in document)) {
      throw new InvalidManifestError('the manifest has no "mediaType", and neither "config" nor "layers"');
    }
    if (has(document, 'manifests')) {
      throw new InvalidManifestError(`a manifest (${mediaType}) must not have "manifests" beside its layers`);
    }
    const field = has(document, 'blobs') && !has(document, 'layers') ? 'blobs' : 'layers';
    const items = listOf(document, field, limits);
    const all = items.map((json, i) => parseDescriptor(json, `${field}[${i}]`));
    const config = has(document, 'config') ? parseDescriptor(document.config, 'config') : undefined;
    const isForeign = ({ mediaType: type }: Descriptor, i: number): boolean => {
      const { urls } = items[i] as JsonObject;
      return isForeignLayerType(type) && Array.isArray(urls) && urls.length > 0;
    };
    return {
      kind: 'manifest',
      mediaType,
      ...(config === undefined ? {} : { config }),
      layers: all.filter((layer, i) => !isForeign(layer, i)),
      foreignLayers: all.filter(isForeign),
      ...inlineOf([document.config, ...items], [config, ...all]),
    };
  }
  throw new InvalidManifestError(
    `media type ${JSON.stringify(mediaType.slice(0, 200))} is neither a manifest nor an index that Entrepot knows (OCI, Docker schema 2)`,
  );
}

/** Content types that do not say what a document is. */
const GENERIC_TYPES: ReadonlySet<string> = new Set(['', OCTET_STREAM, 'application/json', 'text/plain']);

/**
 * As {@link parseManifest}, but a document of an unknown type is opaque instead of an error. For index entries and requests by
 * digest: the specification forbids failing on unknown types of entries.
 * https://github.com/opencontainers/image-spec/blob/main/image-index.md#image-index-property-descriptions
 *
 * @throws InvalidManifestError if it is of a known type and broken.
 */
export function parseAnyManifest(
  bytes: Uint8Array,
  contentType: string | undefined,
  limits: ManifestLimits,
): Index | Manifest {
  const mediaType = unknownTypeOf(bytes, contentType);
  if (mediaType === undefined) return parseManifest(bytes, contentType, limits);
  return { kind: 'manifest', mediaType, opaque: true, layers: [], foreignLayers: [] };
}

/** The media type of a document of an unknown type: its own, or else that of the answer. Undefined for a known type. */
function unknownTypeOf(bytes: Uint8Array, contentType: string | undefined): string | undefined {
  const outside = contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  const isKnown = (mediaType: string): boolean => isManifestOrIndexType(mediaType) || isSchema1Type(mediaType);
  const said = (mediaType: string): string => (isMediaType(mediaType) ? mediaType : OCTET_STREAM);
  let document: JsonObject;
  try {
    document = parseDocument(bytes);
  } catch (error) {
    if (error instanceof InvalidManifestError && !isKnown(outside)) return said(outside);
    throw error;
  }
  const inside = document.mediaType;
  if (typeof inside === 'string' && inside !== '') return isKnown(inside) ? undefined : said(inside);
  if (!GENERIC_TYPES.has(outside)) return isKnown(outside) ? undefined : said(outside);
  const isShaped = Array.isArray(document.manifests) || isObject(document.config) || Array.isArray(document.layers);
  return isShaped || document.schemaVersion === 1 ? undefined : said(outside);
}

function parseDocument(bytes: Uint8Array): JsonObject {
  let document: unknown;
  try {
    document = parseJson(bytes);
  } catch (cause) {
    throw new InvalidManifestError('the manifest is not JSON', cause);
  }
  if (!isObject(document)) throw new InvalidManifestError('the manifest is not a JSON object');
  return document;
}

/** Null counts as absent: programs in Go write null for empty fields. */
const has = (document: JsonObject, field: string): boolean => document[field] !== undefined && document[field] !== null;

function mediaTypeOf(document: JsonObject, contentType: string | undefined): string {
  const inside = mediaTypeIn(document);
  if (inside !== undefined && typeof inside !== 'string') throw new InvalidManifestError('"mediaType" is not a string');
  const outside = contentType?.split(';')[0]?.trim().toLowerCase();
  if (isSchema1Type(inside ?? outside ?? '') || document.schemaVersion === 1) {
    throw new InvalidManifestError(
      'this is a Docker schema 1 manifest, which has no descriptors to verify blobs by; push the image again with a current client (schema 2 or OCI)',
    );
  }
  if (has(document, 'schemaVersion') && document.schemaVersion !== 2) {
    throw new InvalidManifestError(`"schemaVersion" is ${shownValue(document.schemaVersion)}, must be 2`);
  }
  if (inside !== undefined) return inside;
  if (outside !== undefined && isManifestOrIndexType(outside)) return outside;
  if (has(document, 'manifests')) return OCI_INDEX;
  if (has(document, 'config') || has(document, 'layers')) return OCI_MANIFEST;
  if ('manifests' in document) return OCI_INDEX;
  if ('config' in document || 'layers' in document) return OCI_MANIFEST;
  throw new InvalidManifestError('the manifest has no "mediaType", and neither "manifests" nor "config" or "layers"');
}

function listOf(document: JsonObject, field: string, limits: ManifestLimits): readonly unknown[] {
  const value = document[field] ?? [];
  if (!Array.isArray(value)) throw new InvalidManifestError(`"${field}" is not a list`);
  if (value.length > limits.fanOut) {
    throw new InvalidManifestError(
      `"${field}" has ${value.length} entries, the limit is ${limits.fanOut} (limits.fanOut in the configuration)`,
    );
  }
  return value;
}

/** The embedded content of the items. */
function inlineOf(
  items: readonly unknown[],
  descriptors: readonly (Descriptor | undefined)[],
): { readonly inline?: InlineContent } {
  const inline = new Map<Digest, Uint8Array>();
  for (const [i, one] of descriptors.entries()) {
    const json = items[i];
    const bytes = one !== undefined && isObject(json) ? inlineData(json.data, one) : undefined;
    if (one !== undefined && bytes !== undefined) inline.set(one.digest, bytes);
  }
  return inline.size === 0 ? {} : { inline };
}

/** A broken entry does not fail the index: it is kept with its fault, and fails only those who request it. */
function indexEntry(json: unknown, i: number): IndexEntry {
  const at = `manifests[${i}]`;
  const { annotations, platform: stated } = isObject(json) ? json : {};
  const platform = platformOf(stated);
  const attests = attestedBy(annotations);
  const more = attests !== undefined ? { attests } : platform !== undefined ? { platform } : {};
  const faulty = (own: Descriptor, fault: string): IndexEntry => ({ ...own, platform: UNKNOWN, ...more, fault });
  try {
    const own = parseDescriptor(json, at);
    if (!isSchema1Type(own.mediaType)) return { ...own, ...more };
    return faulty(
      own,
      `"${at}" (${own.digest}) is a Docker schema 1 manifest; push the image again with a current client`,
    );
  } catch (error) {
    if (!(error instanceof InvalidManifestError)) throw error;
    const given = isObject(json) && typeof json.digest === 'string' && isDigest(json.digest) ? json.digest : undefined;
    const fault = given === undefined ? error.message : `${error.message} (${given})`;
    // Entries are identified by digest. Without one, the digest of the fault stands in; nothing is ever stored under it.
    return faulty({ mediaType: OCTET_STREAM, digest: given ?? digestOf(Buffer.from(fault)), size: 0 }, fault);
  }
}

function attestedBy(json: unknown): Digest | undefined {
  const annotations = isObject(json) ? json : {};
  if (annotations['vnd.docker.reference.type'] !== 'attestation-manifest') return undefined;
  const described = annotations['vnd.docker.reference.digest'];
  return typeof described === 'string' && isDigest(described) ? described : undefined;
}

/** Of broken entries. */
const UNKNOWN: Platform = { os: 'unknown', architecture: 'unknown' };

/** A part that is missing, or that no request could name, is `unknown` and matches no other request. */
function platformOf(json: unknown): Platform | undefined {
  if (json === undefined || json === null) return undefined;
  const { os, architecture, variant } = isObject(json) ? json : {};
  // BuildKit writes unknown/unknown for content without a platform.
  if (os === architecture && (os === '' || os === 'unknown')) return undefined;
  const part = (value: unknown): string =>
    typeof value === 'string' && value !== '' && value.length <= MAX_PLATFORM_CHARACTERS ? value : 'unknown';
  return normalisePlatform({
    os: part(os),
    architecture: part(architecture),
    ...(typeof variant === 'string' && variant !== '' ? { variant: part(variant) } : {}),
  });
}

/**
 * The platform in an image's config. Undefined if the config is empty, not JSON, or has no complete platform.
 * https://github.com/opencontainers/image-spec/blob/main/config.md#properties
 */
export function platformOfConfig(bytes: Uint8Array): Platform | undefined {
  let document: unknown;
  try {
    document = parseJson(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
  if (!isObject(document)) return undefined;
  const { os, architecture, variant } = document;
  const platform = platformOf({ os, architecture, variant });
  return platform?.os === 'unknown' || platform?.architecture === 'unknown' ? undefined : platform;
}

/** Every blob that a client may request for the manifest, including foreign layers, which the registry may hold. */
export const namedBlobs = (manifest: Manifest): Descriptor[] => [...blobsOf(manifest), ...manifest.foreignLayers];

/** Every blob that a manifest needs, config first, each digest once. */
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
