import { InvalidManifestError } from '../errors/cache-error.ts';
import type { Descriptor } from './descriptor.ts';
import { isDigest } from './digest.ts';
import type { ManifestLimits } from './manifest.ts';
import { OCI_INDEX } from './media-type.ts';

/** A manifest that refers to another: a signature, an SBOM, an attestation. */
export interface Referrer extends Descriptor {
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What the referrers API answers: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers */
export interface ReferrersIndex {
  readonly schemaVersion: 2;
  readonly mediaType: typeof OCI_INDEX;
  readonly manifests: readonly Referrer[];
}

export const NO_REFERRERS: ReferrersIndex = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] };

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const MAX_TEXT_CHARACTERS = 4_096;
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT_CHARACTERS;

/**
 * The referrers in `bytes`: what the specification has of each, and nothing else of what the registry sent.
 *
 * @throws InvalidManifestError
 */
export function parseReferrers(bytes: Uint8Array, { fanOut }: ManifestLimits): ReferrersIndex {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new InvalidManifestError('the list of referrers is not JSON', cause);
  }
  const manifests = isMap(document) ? document.manifests : undefined;
  if (!Array.isArray(manifests)) throw new InvalidManifestError('the list of referrers has no "manifests"');
  if (manifests.length > fanOut) {
    throw new InvalidManifestError(
      `the list of referrers has ${manifests.length} entries, the limit is ${fanOut} (limits.fanOut in the configuration)`,
    );
  }
  return { ...NO_REFERRERS, manifests: manifests.map(referrerFrom) };
}

function referrerFrom(entry: unknown, at: number): Referrer {
  const { mediaType, digest, size, artifactType, annotations } = isMap(entry) ? entry : {};
  const hasSize = typeof size === 'number' && Number.isSafeInteger(size) && size >= 0;
  if (!isText(mediaType) || typeof digest !== 'string' || !isDigest(digest) || !hasSize) {
    throw new InvalidManifestError(`entry ${at} of the list of referrers is no descriptor`);
  }
  const texts = isMap(annotations) ? Object.entries(annotations).filter(([, value]) => isText(value)) : [];
  return {
    mediaType,
    digest,
    size,
    ...(isText(artifactType) && artifactType !== '' ? { artifactType } : {}),
    ...(texts.length === 0 ? {} : { annotations: Object.fromEntries(texts) as Record<string, string> }),
  };
}
