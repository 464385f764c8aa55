import { ContentLostError, InvalidManifestError } from '../errors/cache-error.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { parseAnyManifest, parseManifest, type Index, type Manifest } from '../oci/manifest.ts';
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

/** A manifest to be read, and what is known of it. */
export interface WantedManifest {
  readonly digest: Digest;
  readonly parent?: Descriptor;
  readonly linked?: Descriptor | undefined;
  /** Its bytes, verified, where an index of this repository carries them. */
  readonly inline?: Uint8Array | undefined;
  /** Also of a type that nobody knows: then it is kept as it is. */
  readonly anyType?: boolean;
}

/**
 * The manifest by digest: from the store where `linked` says that this repository may serve it, else from the index that carries it, or from the upstream: either is
 * also the proof that the repository holds it (I9). One that the store lost comes from there again.
 *
 * With `anyType` one of a type that nobody knows is kept as it is.
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

/** Parses what was read; with `anyType` also what is of a type that nobody knows. */
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
    // This pull writes it anew, if its registry still has it. Until then nothing that needs it is complete (I2).
    await reconcile(deps, [linked], { adopt: false, signal });
    return undefined;
  }
}
