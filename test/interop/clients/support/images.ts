import type { MediaTypes } from '../../../../infra/local/sample/image-builder.ts';
import type { Digest } from '../../../../lib/oci/digest.ts';
import { buildImage, buildIndex, noise, type Image } from '../../../support/images.ts';
import { manifestOf } from '../../registry/closure.ts';

export const AMD64 = 'linux/amd64';
export const ARM64 = 'linux/arm64/v8';

/** An index of two platforms that can be unpacked, with one layer that both have and one of each. */
export function twoPlatforms(name: string, mediaTypes: MediaTypes): Image {
  const shared = { files: { 'etc/name': `${name}\n` } };
  const entries = [AMD64, ARM64].map((platform) => {
    const own = { files: { 'usr/share/noise': noise(20_000, `${name} ${platform}`) } };
    return { platform, image: buildImage({ platform, mediaTypes, layers: [shared, own] }) };
  });
  return buildIndex({ entries, mediaTypes });
}

/** The manifest of the platform. */
export function childOf(image: Image, platform: string): Digest {
  const { manifests } = JSON.parse(Buffer.from(image.root.bytes).toString()) as {
    readonly manifests: readonly { digest: Digest; platform: { os: string; architecture: string } }[];
  };
  const [os, architecture] = platform.split('/');
  const child = manifests.find((entry) => entry.platform.os === os && entry.platform.architecture === architecture);
  if (child === undefined) throw new Error(`the image has no ${platform}`);
  return child.digest;
}

/** The last layer of the platform, which no other has. */
export function lastLayerOf(image: Image, platform: string): Digest {
  const layer = manifestOf(image, childOf(image, platform)).layers.at(-1);
  if (layer === undefined) throw new Error('the image has no layers');
  return layer.digest;
}
