import type { Digest } from '../oci/digest.ts';
import type { InlineContent } from '../oci/manifest.ts';
import type { Upstream } from '../registry/upstream.ts';

/** Where the blobs of one pull come from. */
export type BlobSource = Pick<Upstream, 'repository' | 'domain' | 'hasBlob' | 'openBlob'>;

/**
 * The upstream, without a request for what `inline` has: manifests of its repository carry that content themselves, so whoever may have them may have it, and
 * reading them was the proof (I9).
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

/** What documents carry, all together. */
export const inlineOf = (documents: readonly { readonly inline?: InlineContent }[]): Map<Digest, Uint8Array> =>
  new Map(documents.flatMap(({ inline = [] }) => [...inline]));
