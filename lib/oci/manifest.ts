import { InvalidManifestError } from '../errors/cache-error.ts';
import { type Descriptor, type IndexEntry, inlineData, parseJson } from './descriptor.ts';
import { DIGEST_FORM, digestOf, isDigest, type Digest } from './digest.ts';
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

/** Bounds that hold before anything of a manifest is followed. */
interface ManifestLimits {
  /** Descriptors in one manifest or index. */
  readonly fanOut: number;
}

/** https://github.com/opencontainers/image-spec/blob/main/image-index.md, and Docker's schema 2 manifest list. */
export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
  /** Manifests that the index carries itself, verified. */
  readonly inline?: InlineContent;
}

/** Content that descriptors carry themselves, verified: whoever may have the document may have it. */
export type InlineContent = ReadonlyMap<Digest, Uint8Array>;

/** https://github.com/opencontainers/image-spec/blob/main/manifest.md, Docker's schema 2 manifest, and artifact manifests. */
export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config?: Descriptor;
  /** Layers, or the `blobs` of an artifact manifest. Foreign layers are not among them. */
  readonly layers: readonly Descriptor[];
  /** Of a type that nobody here knows: kept as it is, and what it may need is not looked for. */
  readonly opaque?: true;
  /** Layers of a foreign type with `urls`: a registry need not hold them, and `urls` are never followed (I8). The image is complete without those that it does not. */
  readonly foreignLayers: readonly Descriptor[];
  /** Configs and layers that the manifest carries itself, verified. */
  readonly inline?: InlineContent;
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
    if (has(document, 'layers') || has(document, 'config')) {
      throw new InvalidManifestError(`an index (${mediaType}) must not have "layers" or "config" beside "manifests"`);
    }
    // Null is an empty list. A document without the field is no index, whatever its content type says.
    if (!('manifests' in document)) throw new InvalidManifestError('"manifests" is not a list');
    const items = listOf(document, 'manifests', limits);
    const entries = items.map(indexEntry);
    return { kind: 'index', mediaType, entries, ...inlineOf(items, entries) };
  }
  if (isManifestType(mediaType)) {
    // Whatever its content type says: other JSON is not an image without layers.
    if (mediaTypeIn(document) === undefined && !['config', 'layers', 'blobs'].some((field) => field in document)) {
      throw new InvalidManifestError('the manifest has no "mediaType", and neither "config" nor "layers"');
    }
    if (has(document, 'manifests')) {
      throw new InvalidManifestError(`a manifest (${mediaType}) must not have "manifests" beside its layers`);
    }
    const field = has(document, 'blobs') && !has(document, 'layers') ? 'blobs' : 'layers';
    const items = listOf(document, field, limits);
    const all = items.map((json, i) => descriptor(json, `${field}[${i}]`));
    const config = has(document, 'config') ? descriptor(document.config, 'config') : undefined;
    const isForeign = ({ mediaType: type }: Descriptor, i: number): boolean =>
      isForeignLayerType(type) && isNonEmptyList((items[i] as Json).urls);
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

/** Content types that say nothing of what a document is. */
const GENERIC_TYPES: ReadonlySet<string> = new Set(['', OCTET_STREAM, 'application/json', 'text/plain']);

/**
 * The same of what an index lists without saying that it is a manifest or an index, or what is asked for by its digest: of a type that nobody here knows it is kept as
 * it is. The specification forbids to fail on it: https://github.com/opencontainers/image-spec/blob/main/image-index.md#image-index-property-descriptions
 *
 * @throws InvalidManifestError where it is of a known type, and broken.
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

/** Its own type, else that of the answer, where neither of them, nor a field, says that it is something that we know. */
function unknownTypeOf(bytes: Uint8Array, contentType: string | undefined): string | undefined {
  const outside = contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  const isKnown = (mediaType: string): boolean => isManifestOrIndexType(mediaType) || isSchema1Type(mediaType);
  const said = (mediaType: string): string => (isMediaType(mediaType) ? mediaType : OCTET_STREAM);
  let document: Json;
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

function parseDocument(bytes: Uint8Array): Json {
  let document: unknown;
  try {
    document = parseJson(bytes);
  } catch (cause) {
    throw new InvalidManifestError('the manifest is not JSON', cause);
  }
  if (!isObject(document)) throw new InvalidManifestError('the manifest is not a JSON object');
  return document;
}

/** A field that is null says nothing: writers in Go write null for what they leave empty. */
const has = (document: Json, field: string): boolean => document[field] !== undefined && document[field] !== null;

const isNonEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length > 0;

/** Empty and null are as good as absent. */
const mediaTypeIn = ({ mediaType }: Json): unknown => (mediaType === '' || mediaType === null ? undefined : mediaType);

function mediaTypeOf(document: Json, contentType: string | undefined): string {
  const inside = mediaTypeIn(document);
  if (inside !== undefined && typeof inside !== 'string') throw new InvalidManifestError('"mediaType" is not a string');
  const outside = contentType?.split(';')[0]?.trim().toLowerCase();
  if (isSchema1Type(inside ?? outside ?? '') || document.schemaVersion === 1) {
    throw new InvalidManifestError(
      'this is a Docker schema 1 manifest, which has no descriptors to verify blobs by; push the image again with a current client (schema 2 or OCI)',
    );
  }
  if (has(document, 'schemaVersion') && document.schemaVersion !== 2) {
    throw new InvalidManifestError(`"schemaVersion" is ${shown(document.schemaVersion)}, must be 2`);
  }
  if (inside !== undefined) return inside;
  if (outside !== undefined && isManifestOrIndexType(outside)) return outside;
  if (has(document, 'manifests')) return OCI_INDEX;
  if (has(document, 'config') || has(document, 'layers')) return OCI_MANIFEST;
  if ('manifests' in document) return OCI_INDEX;
  if ('config' in document || 'layers' in document) return OCI_MANIFEST;
  throw new InvalidManifestError('the manifest has no "mediaType", and neither "manifests" nor "config" or "layers"');
}

function listOf(document: Json, field: string, limits: ManifestLimits): readonly unknown[] {
  const value = document[field] ?? [];
  if (!Array.isArray(value)) throw new InvalidManifestError(`"${field}" is not a list`);
  if (value.length > limits.fanOut) {
    throw new InvalidManifestError(
      `"${field}" has ${value.length} entries, the limit is ${limits.fanOut} (limits.fanOut in the configuration)`,
    );
  }
  return value;
}

/** What the items carry of the content of their descriptors. */
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

function descriptor(json: unknown, at: string): Descriptor {
  if (!isObject(json)) throw new InvalidManifestError(`"${at}" is not a descriptor`);
  const { digest, size } = json;
  const mediaType = mediaTypeIn(json);
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw new InvalidManifestError(`"${at}.digest" is ${shown(digest)}, must be ${DIGEST_FORM}`);
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

/** An entry that cannot be read concerns only who asks for it: it is kept with what is wrong with it. */
function indexEntry(json: unknown, i: number): IndexEntry {
  const at = `manifests[${i}]`;
  const { annotations, platform: stated } = isObject(json) ? json : {};
  const platform = platformOf(stated);
  const attests = attestedBy(annotations);
  const more = attests !== undefined ? { attests } : platform !== undefined ? { platform } : {};
  const faulty = (own: Descriptor, fault: string): IndexEntry => ({ ...own, platform: UNKNOWN, ...more, fault });
  try {
    const own = descriptor(json, at);
    if (!isSchema1Type(own.mediaType)) return { ...own, ...more };
    return faulty(
      own,
      `"${at}" (${own.digest}) is a Docker schema 1 manifest; push the image again with a current client`,
    );
  } catch (error) {
    if (!(error instanceof InvalidManifestError)) throw error;
    const given = isObject(json) && typeof json.digest === 'string' && isDigest(json.digest) ? json.digest : undefined;
    const fault = given === undefined ? error.message : `${error.message} (${given})`;
    // Entries are told apart by their digests. One without a digest has that of what is wrong with it, which nothing is ever stored under.
    return faulty({ mediaType: OCTET_STREAM, digest: given ?? digestOf(Buffer.from(fault)), size: 0 }, fault);
  }
}

function attestedBy(json: unknown): Digest | undefined {
  const annotations = isObject(json) ? json : {};
  if (annotations['vnd.docker.reference.type'] !== 'attestation-manifest') return undefined;
  const described = annotations['vnd.docker.reference.digest'];
  return typeof described === 'string' && isDigest(described) ? described : undefined;
}

/** Of content that goes along with no platform but its own. */
const UNKNOWN: Platform = { os: 'unknown', architecture: 'unknown' };

/** Parts that are missing, or no text that a request could ask for, are `unknown`: that matches nobody who asks for something else. */
function platformOf(json: unknown): Platform | undefined {
  if (json === undefined || json === null) return undefined;
  const { os, architecture, variant } = isObject(json) ? json : {};
  // BuildKit writes unknown/unknown where there is no platform to speak of.
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
 * The platform that an image's config states. A config is content: one that is empty, no JSON, or states no whole platform states none.
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

/** Whatever a client may ask for by a manifest: its blobs, and its foreign layers, which the registry may hold. */
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
