import type { Digest } from '../oci/digest.ts';
import type { Link, Use } from './catalog.ts';

/** What needs the digest: of a blob the manifest, of a manifest the root that leads to it. Undefined for the root itself. */
export function neederOf({ digest, root, child }: Use): Digest | undefined {
  const needer = child === digest ? root : child;
  return needer === digest ? undefined : needer;
}

/** The links, each with the first of its `uses`: whoever finds the content gone knows what brings it again, however many others use it. */
export function withNeeders(links: readonly Link[], uses: readonly Use[]): Link[] {
  const needers = new Map<Digest, Digest>();
  for (const use of uses) {
    const neededBy = neederOf(use);
    if (neededBy !== undefined && !needers.has(use.digest)) needers.set(use.digest, neededBy);
  }
  return links.map((link) => {
    const neededBy = needers.get(link.digest);
    return neededBy === undefined ? link : { ...link, neededBy };
  });
}
