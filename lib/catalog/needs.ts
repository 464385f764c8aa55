import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { ForeignLayer, Link } from './catalog.ts';

/** Manifests of one root, and what each of them needs. */
export interface Needs {
  readonly root: Digest;
  readonly contents: ReadonlyMap<Digest, readonly Pick<Descriptor, 'digest'>[]>;
  readonly foreign: readonly Pick<ForeignLayer, 'digest' | 'entry'>[];
}

/**
 * The links, each with what needs it: of a blob the first manifest that names it, of a manifest the root that leads to it. Whoever finds the content gone knows what
 * brings it again, however many others use it.
 */
export function withNeeders(links: readonly Link[], { root, contents, foreign }: Needs): Link[] {
  const needers = new Map<Digest, Digest>();
  for (const [manifest, blobs] of contents) {
    for (const { digest } of blobs) if (!needers.has(digest)) needers.set(digest, manifest);
  }
  for (const { digest, entry } of foreign) if (!needers.has(digest)) needers.set(digest, entry);
  return links.map((link) => {
    const neededBy = needers.get(link.digest) ?? (link.landed === true && link.digest !== root ? root : undefined);
    return neededBy === undefined ? link : { ...link, neededBy };
  });
}
