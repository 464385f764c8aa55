import type { KnownSecrets } from './known-secrets.ts';
import type { FetchedManifest, Upstream } from './upstream.ts';

/** The upstream, with no secret of its registry in any error that it throws and in any text that is recorded of its answers (I7). */
export function withoutSecrets(upstream: Upstream, secrets: KnownSecrets): Upstream {
  const guarded = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw secrets.removedFromError(error);
    }
  };
  // Its media type is the registry's word, and goes into rows.
  const recorded = ({ bytes, descriptor }: FetchedManifest): FetchedManifest => ({
    bytes,
    descriptor: { ...descriptor, mediaType: secrets.removedFrom(descriptor.mediaType) },
  });
  return {
    repository: upstream.repository,
    domain: upstream.domain,
    requests: upstream.requests,
    refusals: upstream.refusals,
    resolve: async (...asked) => {
      const { manifest, ...resolution } = await guarded(upstream.resolve(...asked));
      return manifest === undefined ? resolution : { ...resolution, manifest: recorded(manifest) };
    },
    listTags: (...asked) => guarded(upstream.listTags(...asked)),
    listReferrers: (...asked) => guarded(upstream.listReferrers(...asked)),
    readManifest: async (...asked) => recorded(await guarded(upstream.readManifest(...asked))),
    hasBlob: (...asked) => guarded(upstream.hasBlob(...asked)),
    sizeOfBlob: (...asked) => guarded(upstream.sizeOfBlob(...asked)),
    openBlob: async (...asked) => {
      const chunks = await guarded(upstream.openBlob(...asked));
      return {
        sender: () => secrets.removedFrom(chunks.sender?.() ?? '') || undefined,
        [Symbol.asyncIterator]: () => {
          const iterator = chunks[Symbol.asyncIterator]();
          return {
            next: () => guarded(iterator.next()),
            return: async () => (await iterator.return?.()) ?? { done: true, value: undefined },
          };
        },
      };
    },
    locateBlob: (...asked) => guarded(upstream.locateBlob(...asked)),
  };
}
