import { matchesPlatform, parsePlatform } from '../../../lib/oci/platform.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import { blobsOf, parseManifest, type Manifest } from '../../../lib/oci/manifest.ts';
import type { Image } from '../../support/images.ts';

const LIMITS = { fanOut: 1_000 };

/** What a cache must hold, and nothing more, once the platforms of the image were pulled: written down apart from lib/pull. */
export function closureOf(image: Image, ...platforms: string[]): Set<Digest> {
  const wanted = platforms.map((platform) => parsePlatform(platform));
  const closure = new Set<Digest>([image.root.digest]);
  const root = parse(image, image.root.digest);
  if (root.kind === 'manifest') {
    for (const blob of blobsOf(root)) closure.add(blob.digest);
    return closure;
  }
  const chosen = root.entries.filter(
    ({ platform }) => platform !== undefined && wanted.some((want) => matchesPlatform(want, platform)),
  );
  const attestations = root.entries.filter(({ attests }) => chosen.some(({ digest }) => digest === attests));
  for (const { digest } of [...chosen, ...attestations]) {
    closure.add(digest);
    for (const blob of blobsOf(manifestOf(image, digest))) closure.add(blob.digest);
  }
  return closure;
}

/** The manifest of the image with this digest. */
export function manifestOf(image: Image, digest: Digest): Manifest {
  const manifest = parse(image, digest);
  if (manifest.kind !== 'manifest') throw new Error(`${digest} is an index`);
  return manifest;
}

function parse(image: Image, digest: Digest): ReturnType<typeof parseManifest> {
  const content = image.manifests.get(digest);
  if (content === undefined) throw new Error(`${digest} is no manifest of the image`);
  return parseManifest(content.bytes, content.mediaType, LIMITS);
}
