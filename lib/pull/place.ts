import { BlobsFailedError, BlobUnknownError, type BlobFailure } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import type { HeldManifest } from './read-manifest.ts';

/** A manifest without its bytes. */
export type ReadManifest = Pick<HeldManifest, 'descriptor' | 'content'>;

/** Where one of the manifests names the blob: `layers[0] of sha256:…`. Undefined where none does. */
export function placeOf(manifests: readonly ReadManifest[], digest: Digest): string | undefined {
  for (const { descriptor, content } of manifests) {
    if (content.kind === 'index') {
      const listed = content.entries.findIndex((entry) => entry.digest === digest);
      if (listed >= 0) return `manifests[${listed}] of ${descriptor.digest}, and no manifest of its registry either`;
      continue;
    }
    if (content.config?.digest === digest) return `config of ${descriptor.digest}`;
    const at = content.layers.findIndex((layer) => layer.digest === digest);
    // Foreign layers are not among them: then the position is another.
    if (at >= 0) return `${content.foreignLayers.length > 0 ? 'a layer' : `layers[${at}]`} of ${descriptor.digest}`;
  }
  return undefined;
}

/** The same failures; what a registry does not have is said with its place in the image. */
export function withPlaces(error: BlobsFailedError, manifests: readonly ReadManifest[]): BlobsFailedError {
  const placed = ({ digest, error: own }: BlobFailure): BlobFailure => {
    const place = placeOf(manifests, digest as Digest);
    if (!(own instanceof BlobUnknownError) || place === undefined) return { digest, error: own };
    return { digest, error: new BlobUnknownError(`${own.message}; it is ${place}`) };
  };
  const [first, ...others] = error.failures.map(placed);
  return first === undefined ? error : new BlobsFailedError([first, ...others]);
}
