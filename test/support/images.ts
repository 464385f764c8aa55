import { createCipheriv, createHash } from 'node:crypto';
import {
  buildAttestation,
  buildImage,
  buildIndex,
  type Image,
  type IndexEntrySpec,
  type LayerSpec,
  type MediaTypes,
} from '../../infra/local/sample/image-builder.ts';
import { digestOf, type Digest } from '../../lib/oci/digest.ts';
import { OCI_INDEX } from '../../lib/oci/media-type.ts';
import type { UpstreamImage } from './upstream/upstream.ts';

export {
  buildArtifact,
  buildAttestation,
  buildImage,
  buildIndex,
  type Image,
  type LayerSpec,
} from '../../infra/local/sample/image-builder.ts';

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip';

/** `size` bytes that do not compress, the same for the same seed. */
export function noise(size: number, seed: string): Uint8Array {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** A layer of exactly `size` bytes of noise, for tests that care about sizes and digests and never unpack it. */
export const noiseLayer = (size: number, seed: string): LayerSpec => ({
  bytes: noise(size, seed),
  mediaType: LAYER_TYPE,
});

export interface NoiseImageSpec {
  /** Another name gives other digests. */
  readonly name: string;
  /** Bytes of each layer that only this image has. */
  readonly layerBytes?: readonly number[];
  /** Shared layers, before its own. */
  readonly sharedLayers?: readonly LayerSpec[];
  readonly platform?: string;
  readonly mediaTypes?: MediaTypes;
}

/** A single image of noise layers. */
export function noiseImage(spec: NoiseImageSpec): Image {
  const { name, layerBytes = [1_000, 2_000], sharedLayers = [], platform = 'linux/amd64', mediaTypes = 'oci' } = spec;
  const own = layerBytes.map((size, i) => noiseLayer(size, `${name}/${platform}/${i}`));
  return buildImage({
    platform,
    layers: [...sharedLayers, ...own],
    mediaTypes,
    config: { Labels: { name } },
  });
}

export interface MultiArchSpec {
  readonly name: string;
  /** Default: linux/amd64 and linux/arm64. */
  readonly platforms?: readonly string[];
  /** Bytes of each layer that only one platform has. */
  readonly layerBytes?: readonly number[];
  /** Layers that every platform has. Default: one of 3,000 bytes. */
  readonly sharedLayers?: readonly LayerSpec[];
  /** An attestation manifest for each platform, as BuildKit adds them. Default: false. */
  readonly attestations?: boolean;
  readonly mediaTypes?: MediaTypes;
}

/** An index of noise images, one for each platform, that share their first layers. */
export function multiArchImage(spec: MultiArchSpec): Image & { readonly children: ReadonlyMap<string, Image> } {
  const { name, platforms = ['linux/amd64', 'linux/arm64'], mediaTypes = 'oci', attestations = false } = spec;
  const sharedLayers = spec.sharedLayers ?? [noiseLayer(3_000, `${name}/shared`)];
  const entries: IndexEntrySpec[] = platforms.map((platform) => ({
    platform,
    image: noiseImage({
      name,
      platform,
      sharedLayers,
      mediaTypes,
      ...(spec.layerBytes === undefined ? {} : { layerBytes: spec.layerBytes }),
    }),
  }));
  const attests = entries.map(({ image }) => ({ image: buildAttestation(image), attests: image }));
  return {
    ...buildIndex({ entries: attestations ? [...entries, ...attests] : entries, mediaTypes }),
    children: new Map(entries.map(({ image }, i) => [platforms[i]!, image])),
  };
}

/** The image with SHA-512 digests throughout. */
export function bySha512(image: Image): Image {
  const renamed = new Map<unknown, { readonly digest: Digest; readonly size: number }>();
  const rename = (digest: Digest, bytes: Uint8Array): Digest => {
    const now = digestOf(bytes, 'sha512');
    renamed.set(digest, { digest: now, size: bytes.byteLength });
    return now;
  };
  const blobs = new Map([...image.blobs].map(([digest, bytes]) => [rename(digest, bytes), bytes]));
  const manifests = new Map(
    [...image.manifests].map(([digest, { mediaType, bytes: before }]) => {
      const text = JSON.stringify(JSON.parse(Buffer.from(before).toString()), (_, value: unknown) =>
        typeof value === 'object' && value !== null && 'digest' in value
          ? { ...value, ...renamed.get(value.digest) }
          : typeof value === 'string'
            ? (renamed.get(value)?.digest ?? value)
            : value,
      );
      const bytes = Buffer.from(text);
      return [rename(digest, bytes), { mediaType, bytes }];
    }),
  );
  const { digest = image.root.digest, size = 0 } = renamed.get(image.root.digest) ?? {};
  const { bytes = image.root.bytes } = manifests.get(digest) ?? {};
  return { root: { ...image.root, digest, size, bytes }, manifests, blobs };
}

/** The image as `TestUpstream.addImage` takes it, with the tags on its root. */
export function upstreamImage(image: Image, ...tags: string[]): UpstreamImage {
  return {
    manifests: [...image.manifests].map(([digest, manifest]) =>
      digest === image.root.digest ? { ...manifest, digest, tags } : { ...manifest, digest },
    ),
    blobs: new Map([...image.blobs].map(([digest, bytes]) => [digest, { bytes }])),
  };
}

/** One entry of an index, and how its registry serves it. */
export interface ListedEntry {
  readonly bytes: Uint8Array;
  readonly as: 'blob' | 'manifest';
  /** The media type in the index; absent: none. */
  readonly mediaType?: string;
  readonly platform?: { readonly os: string; readonly architecture: string };
  /** The media type that the registry serves. Default: that in the index. */
  readonly contentType?: string;
}

/** An index of these entries, besides those of `images`. */
export function listing(entries: readonly ListedEntry[], images: readonly Image[] = [], mediaType = OCI_INDEX): Image {
  const described = entries.map(({ bytes, mediaType: type, platform }) => ({
    ...(type === undefined ? {} : { mediaType: type }),
    digest: digestOf(bytes),
    size: bytes.byteLength,
    ...(platform === undefined ? {} : { platform }),
  }));
  const own = images.map(({ root }) => ({ mediaType: root.mediaType, digest: root.digest, size: root.size }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests: [...own, ...described] }));
  const root = { mediaType, digest: digestOf(bytes), size: bytes.byteLength, bytes };
  const listed = (as: ListedEntry['as']) => entries.filter((entry) => entry.as === as);
  return {
    root,
    manifests: new Map([
      ...images.flatMap((image) => [...image.manifests]),
      ...listed('manifest').map(
        ({ bytes: content, mediaType: type = '', contentType = type }) =>
          [digestOf(content), { mediaType: contentType, bytes: content }] as const,
      ),
      [root.digest, { mediaType, bytes }] as const,
    ]),
    blobs: new Map([
      ...images.flatMap((image) => [...image.blobs]),
      ...listed('blob').map(({ bytes: content }) => [digestOf(content), content] as const),
    ]),
  };
}
