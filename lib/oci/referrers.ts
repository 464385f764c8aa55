import { InvalidManifestError } from '../errors/cache-error.ts';
import { type Descriptor, isObject, type JsonObject, parseJson } from './descriptor.ts';
import { algorithmOf, digestOf, hexOf, isDigest, type Digest } from './digest.ts';
import { OCI_INDEX } from './media-type.ts';

/** A manifest that refers to another: a signature, an SBOM, an attestation. */
export interface Referrer extends Descriptor {
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The answer of the referrers API: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers */
export interface ReferrersIndex {
  readonly schemaVersion: 2;
  readonly mediaType: typeof OCI_INDEX;
  /** Without duplicates, sorted by digest. */
  readonly manifests: readonly Referrer[];
}

/** The most referrers of one manifest. */
export const MOST_REFERRERS = 10_000;

export const NO_REFERRERS: ReferrersIndex = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] };
/** The digest of {@link NO_REFERRERS}. No content is stored under it. */
export const NO_REFERRERS_DIGEST = digestOf(Buffer.from(JSON.stringify(NO_REFERRERS)));

/** A tag is too short for the hex digits of a SHA-512, so they are cut to the length of a SHA-256. */
const HEX_OF_TAG = 64;

/** The tag of the list in registries without the API: `sha256-<hex>`. Tags of cosign begin with it. */
export const referrersTag = (subject: Digest): string =>
  `${algorithmOf(subject)}-${hexOf(subject).slice(0, HEX_OF_TAG)}`;

const MAX_TEXT_CHARACTERS = 4_096;
/** For all annotations of one referrer. An entry then fits into every answer, even when escaped. */
const MAX_ANNOTATION_CHARACTERS = 32_768;
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT_CHARACTERS;

/** The index of these referrers, without duplicates and sorted by digest. */
export function referrersIndex(referrers: readonly Referrer[]): ReferrersIndex {
  const byDigest = new Map<Digest, Referrer>();
  for (const one of referrers) if (!byDigest.has(one.digest)) byDigest.set(one.digest, one);
  const manifests = [...byDigest.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  return { ...NO_REFERRERS, manifests };
}

/**
 * The referrers in `bytes`, in their order. Fields outside the specification are dropped.
 *
 * @throws InvalidManifestError
 */
export function parseReferrers(bytes: Uint8Array): readonly Referrer[] {
  let document: unknown;
  try {
    document = parseJson(bytes);
  } catch (cause) {
    throw new InvalidManifestError('the list of referrers is not JSON', cause);
  }
  const manifests = isObject(document) ? document.manifests : undefined;
  if (!Array.isArray(manifests)) throw new InvalidManifestError('the list of referrers has no "manifests"');
  if (manifests.length > MOST_REFERRERS) {
    throw new InvalidManifestError(
      `the list of referrers has ${manifests.length} entries, the limit is ${MOST_REFERRERS}`,
    );
  }
  return manifests.map(referrerFrom);
}

function referrerFrom(entry: unknown, at: number): Referrer {
  const { mediaType, digest, size, artifactType, annotations } = isObject(entry) ? entry : {};
  const hasSize = typeof size === 'number' && Number.isSafeInteger(size) && size >= 0;
  if (!isText(mediaType) || typeof digest !== 'string' || !isDigest(digest) || !hasSize) {
    throw new InvalidManifestError(`entry ${at} of the list of referrers is not a descriptor`);
  }
  const texts = isObject(annotations) ? annotationsFrom(annotations) : [];
  return {
    mediaType,
    digest,
    size,
    ...(isText(artifactType) && artifactType !== '' ? { artifactType } : {}),
    ...(texts.length === 0 ? {} : { annotations: Object.fromEntries(texts) }),
  };
}

/** The annotations that fit {@link MAX_ANNOTATION_CHARACTERS} together. Values other than text are dropped. */
function annotationsFrom(annotations: JsonObject): (readonly [string, string])[] {
  let left = MAX_ANNOTATION_CHARACTERS;
  const texts: (readonly [string, string])[] = [];
  for (const [name, value] of Object.entries(annotations)) {
    if (!isText(name) || !isText(value)) continue;
    left -= name.length + value.length;
    if (left < 0) break;
    texts.push([name, value]);
  }
  return texts;
}
