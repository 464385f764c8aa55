import {
  type BlobFailure,
  BlobsFailedError,
  BlobUnknownError,
  ContentLostError,
  InvalidManifestError,
} from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { type Index, type InlineContent, type Manifest, parseAnyManifest, parseManifest } from '../oci/manifest.ts';
import type { FetchedManifest, Upstream } from '../registry/upstream.ts';
import type { PullDeps } from './pull-request.ts';
import { reconcile } from './reconcile.ts';

/** A manifest or index in memory, and whether the store has it already. */
export interface HeldManifest {
  /** `mediaType` is what the bytes say they are. */
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly content: Index | Manifest;
  readonly stored: boolean;
}

/** A manifest to read, and what is known of it. */
interface WantedManifest {
  readonly digest: Digest;
  readonly parent?: Descriptor;
  readonly linked?: Descriptor | undefined;
  /** Its bytes, verified, where an index of this repository carries them. */
  readonly inline?: Uint8Array | undefined;
  /** Accept an unknown type, and keep the manifest as it is. */
  readonly anyType?: boolean;
}

/**
 * The manifest by digest: from the store if it is `linked` to this repository; else from the index that
 * carries it inline, or from the upstream. Each of those two is also the proof that the repository has it
 * (I9). A manifest that the store lost is read from them, too.
 *
 * @throws InvalidManifestError if its size contradicts `parent`, the descriptor that named it.
 */
export async function readManifest(
  deps: PullDeps,
  upstream: Upstream,
  wanted: WantedManifest,
  signal: AbortSignal,
): Promise<HeldManifest> {
  const { digest, parent, linked, inline, anyType = false } = wanted;
  const cached = linked === undefined ? undefined : await readStored(deps, linked, signal);
  const carried = inline && parent && { descriptor: parent, bytes: inline };
  const manifest = cached ?? carried ?? (await upstream.readManifest(digest, signal));
  if (parent !== undefined && manifest.descriptor.size !== parent.size) {
    throw new InvalidManifestError(
      `the index says that manifest ${digest} has ${parent.size} bytes, but it has ${manifest.descriptor.size}`,
    );
  }
  return held(deps, manifest, cached !== undefined, anyType);
}

/** Parses what was read; with `anyType`, also a manifest of an unknown type. */
export function held(deps: PullDeps, manifest: FetchedManifest, stored: boolean, anyType = false): HeldManifest {
  const parse = anyType ? parseAnyManifest : parseManifest;
  const content = parse(manifest.bytes, manifest.descriptor.mediaType, deps.limits);
  return {
    descriptor: { ...manifest.descriptor, mediaType: content.mediaType },
    bytes: manifest.bytes,
    content,
    stored,
  };
}

async function readStored(
  deps: PullDeps,
  linked: Descriptor,
  signal: AbortSignal,
): Promise<FetchedManifest | undefined> {
  try {
    return { descriptor: linked, bytes: await deps.store.read(linked, deps.limits.manifestBytes, signal) };
  } catch (error) {
    if (!(error instanceof ContentLostError)) throw error;
    // This pull stores it again if its registry still has it. Until then nothing that needs it is complete (I2).
    await reconcile(deps, [linked], { adopt: false, signal });
    return undefined;
  }
}

/** Where the blobs of one pull come from. */
export type BlobSource = Pick<Upstream, 'repository' | 'domain' | 'hasBlob' | 'openBlob'>;

/**
 * The upstream, but without requests for content that is `inline` in manifests of its repository: reading
 * those manifests was the proof (I9).
 */
export function carrying(upstream: BlobSource, inline: InlineContent): BlobSource {
  return {
    repository: upstream.repository,
    domain: upstream.domain,
    hasBlob: async (blob, signal) => inline.has(blob.digest) || (await upstream.hasBlob(blob, signal)),
    openBlob: async (blob, offset, signal, reading) => {
      const bytes = inline.get(blob.digest);
      return bytes === undefined
        ? await upstream.openBlob(blob, offset, signal, reading)
        : only(bytes.subarray(offset));
    },
  };
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield await Promise.resolve(bytes);
}

/** All inline content of the documents. */
export const inlineOf = (documents: readonly { readonly inline?: InlineContent }[]): Map<Digest, Uint8Array> =>
  new Map(documents.flatMap(({ inline = [] }) => [...inline]));

/** A manifest without its bytes. */
export type ReadManifest = Pick<HeldManifest, 'descriptor' | 'content'>;

/** Where one of the manifests names the blob: `layers[0] of sha256:…`. Undefined if none does. */
function positionOf(manifests: readonly ReadManifest[], digest: Digest): string | undefined {
  for (const { descriptor, content } of manifests) {
    if (content.kind === 'index') {
      const listed = content.entries.findIndex((entry) => entry.digest === digest);
      if (listed >= 0) return `manifests[${listed}] of ${descriptor.digest}, and no manifest of its registry either`;
      continue;
    }
    if (content.config?.digest === digest) return `config of ${descriptor.digest}`;
    const at = content.layers.findIndex((layer) => layer.digest === digest);
    // Foreign layers are not in `layers`: with them the position would be wrong.
    if (at >= 0) return `${content.foreignLayers.length > 0 ? 'a layer' : `layers[${at}]`} of ${descriptor.digest}`;
  }
  return undefined;
}

/** The same failures; a blob that the registry does not have is named with its place in the image. */
export function withPositions(error: BlobsFailedError, manifests: readonly ReadManifest[]): BlobsFailedError {
  const placed = ({ digest, error: own }: BlobFailure): BlobFailure => {
    const place = positionOf(manifests, digest as Digest);
    if (!(own instanceof BlobUnknownError) || place === undefined) return { digest, error: own };
    return { digest, error: new BlobUnknownError(`${own.message}; it is ${place}`) };
  };
  const [first, ...others] = error.failures.map(placed);
  return first === undefined ? error : new BlobsFailedError([first, ...others]);
}
