import { textBytes } from '../../../infra/local/sample/tar.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import {
  buildArtifact,
  buildImage,
  buildIndex,
  bySha512,
  listing,
  multiArchImage,
  noise,
  noiseImage,
  noiseLayer,
  type Image,
  type LayerSpec,
} from '../../support/images.ts';

/** One line of the table: an image as it is pushed, under a name of its own. No two share a blob but the empty config. */
export interface UpstreamCase {
  /** The last part of its repository. */
  readonly name: string;
  readonly image: Image;
  /** Asked for in its pull; all that it has where not given. */
  readonly platform?: string;
  /** What the pull leaves out, and says so. */
  readonly skipped?: readonly Digest[];
  /** What it refers to, where it refers to something: pushed before it, in the same repository. */
  readonly subject?: Image;
}

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip';
const EMPTY = textBytes('{}');
const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json';

/** The kinds of content that every upstream is asked for: one line more for each new kind. */
export function upstreamCases(): readonly UpstreamCase[] {
  const subject = noiseImage({ name: 'subject' });
  const sbom = { bytes: noise(5_000, 'sbom'), mediaType: 'application/spdx+json' };
  const twice = noiseLayer(4_000, 'twice');
  return [
    { name: 'attested', image: multiArchImage({ name: 'attested', attestations: true }) },
    { name: 'docker-list', image: multiArchImage({ name: 'docker-list', mediaTypes: 'docker' }) },
    { name: 'single', image: noiseImage({ name: 'single' }) },
    { name: 'docker-single', image: noiseImage({ name: 'docker-single', mediaTypes: 'docker' }) },
    { name: 'no-layers', image: noiseImage({ name: 'no-layers', layerBytes: [] }) },
    { name: 'referrer', image: buildArtifact({ artifactType: SBOM_TYPE, subject, blobs: [sbom] }), subject },
    { name: 'nested', image: nested() },
    { name: 'zstd', image: zstd() },
    { name: 'duplicate-layers', image: noiseImage({ name: 'twice', layerBytes: [], sharedLayers: [twice, twice] }) },
    { name: 'inline-data', image: inlineData() },
    { name: 'wasm', image: wasm() },
    { name: 'untyped', image: untyped() },
    { name: 'index-with-subject', image: bundle() },
    { name: 'odd-bytes', image: oddBytes() },
    { name: 'sha512', image: sha512() },
    { name: 'build-cache', image: buildCache() },
    { name: 'unknown-entries', image: unknownEntries() },
    { name: 'untyped-entries', image: untypedEntries() },
    { name: 'foreign-layers', ...foreignLayers() },
    { name: 'sparse', image: sparse(), platform: 'linux/amd64' },
  ];
}

/** The artifact type of the referrer. */
export const SBOM_TYPE = 'application/vnd.example.sbom';

/** Indexes in an index: the inner ones have no platform. */
function nested(): Image {
  const inner = multiArchImage({ name: 'nested', attestations: true });
  const other = multiArchImage({ name: 'nested-other', platforms: ['linux/s390x'] });
  return buildIndex({ entries: [{ image: inner }, { image: other }] });
}

/** A layer by zstd, and one that is not compressed. */
function zstd(): Image {
  const layers = (['zstd', 'none'] as const).map((compression) => ({
    files: { [`usr/share/${compression}`]: noise(6_000, compression) },
    compression,
  }));
  return buildImage({ platform: 'linux/amd64', layers });
}

/** The content of config and layer is in their descriptors, too. */
function inlineData(): Image {
  const text = textBytes('a layer that is short enough to stand in its descriptor');
  const data = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const config = { ...described(EMPTY, EMPTY_TYPE), data: data(EMPTY) };
  const layers = [{ ...described(text, 'text/plain'), data: data(text) }];
  return manifestOf({ artifactType: 'application/vnd.example.data', config, layers }, [EMPTY, text]);
}

/** https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/ */
function wasm(): Image {
  const module = Buffer.concat([Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), noise(2_000, 'wasm')]);
  const layers = [described(module, 'application/wasm')];
  const settings = { created: '1970-01-01T00:00:00Z', architecture: 'wasm', os: 'wasip1' };
  const config = textBytes(JSON.stringify({ ...settings, layerDigests: [layers[0]?.digest] }));
  return manifestOf({ config: described(config, 'application/vnd.wasm.config.v0+json'), layers }, [config, module]);
}

/** Neither the index nor the manifests in it state what they are: their Content-Type does. */
function untyped(): Image {
  const entries = ['linux/amd64', 'linux/arm64'].map((platform) => ({
    platform,
    image: buildImage({ platform, layers: [noiseLayer(2_000, `untyped ${platform}`)], omitMediaType: true }),
  }));
  return buildIndex({ entries, omitMediaType: true });
}

/** An index of artifacts that has an artifact type and a subject itself. The subject is nowhere: the specification allows it. */
function bundle(): Image {
  const parts = ['one', 'two'].map((part) =>
    buildArtifact({
      artifactType: 'application/vnd.example.part',
      blobs: [{ bytes: noise(1_500, `part ${part}`), mediaType: 'application/octet-stream' }],
    }),
  );
  const { mediaType, digest, size } = noiseImage({ name: 'subject of a bundle' }).root;
  return rewritten(buildIndex({ entries: parts.map((image) => ({ image })) }), (index) => ({
    ...index,
    artifactType: 'application/vnd.example.bundle',
    subject: { mediaType, digest, size },
  }));
}

/** White space, line ends and escapes that no program writes: a registry that writes the JSON anew changes its digest. */
function oddBytes(): Image {
  const image = noiseImage({ name: 'odd-bytes' });
  const annotations = '"annotations" : {"\\u00e9\\u4e2d":"\\ud83d\\ude00"}';
  const text = Buffer.from(image.root.bytes).toString().replace(/^\{/, `\r\n\t{ ${annotations} ,\n`);
  return withRoot(image, textBytes(`${text}\n\n`));
}

/** Config and layers are named by their SHA-512; the manifest is what a tag names, so its digest is the registry's choice. */
function sha512(): Image {
  const image = bySha512(noiseImage({ name: 'sha512' }));
  return withRoot(image, image.root.bytes);
}

/** BuildKit's cache with `image-manifest=false`: an index of layers and one config. */
function buildCache(): Image {
  const layer = (name: string) => ({ bytes: noise(2_500, name), as: 'blob', mediaType: LAYER_TYPE }) as const;
  const config = textBytes(JSON.stringify({ layers: [{ blob: 'one', parent: -1 }], records: [] }));
  const entry = { bytes: config, as: 'blob', mediaType: 'application/vnd.buildkit.cacheconfig.v0' } as const;
  return listing([layer('cached one'), layer('cached two'), entry]);
}

/** An image, and beside it a blob of a type that nobody knows. */
function unknownEntries(): Image {
  const mediaType = 'application/vnd.example.unknown.v1+json';
  return listing(
    [{ bytes: textBytes('{"what":"nobody knows"}'), as: 'blob', mediaType }],
    [noiseImage({ name: 'known' })],
  );
}

/** An index that does not state of what type its entry is. */
function untypedEntries(): Image {
  const { root, blobs } = noiseImage({ name: 'untyped-entries' });
  const index = listing([{ bytes: root.bytes, as: 'manifest', contentType: OCI_MANIFEST }]);
  return { ...index, blobs };
}

/** An image of Windows: the registry holds one of its foreign layers and not the other. */
function foreignLayers(): Pick<UpstreamCase, 'image' | 'skipped'> {
  const [held, elsewhere] = [noise(2_200, 'held'), noise(2_300, 'elsewhere')];
  const foreign = (bytes: Uint8Array): LayerSpec => ({
    foreign: described(bytes, 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'),
    urls: ['https://foreign.example.test/layer'],
  });
  const layers = [foreign(held), foreign(elsewhere), noiseLayer(1_200, 'not foreign')];
  const image = buildImage({ platform: 'windows/amd64', mediaTypes: 'docker', layers });
  const blobs = new Map([...image.blobs, [digestOf(held), held]]);
  return { image: { ...image, blobs }, skipped: [digestOf(elsewhere)] };
}

/** An index of two platforms: one of them was never pushed. */
function sparse(): Image {
  const [here, gone] = ['linux/amd64', 'linux/arm64'].map((platform) => ({
    platform,
    image: noiseImage({ name: 'sparse', platform }),
  }));
  const { root, manifests } = buildIndex({ entries: [here!, gone!] });
  const rest = [...manifests].filter(([digest]) => digest !== gone!.image.root.digest);
  return { root, manifests: new Map(rest), blobs: here!.image.blobs };
}

/** The image with another document at its root. */
const rewritten = (image: Image, change: (document: object) => object): Image =>
  withRoot(image, textBytes(JSON.stringify(change(JSON.parse(Buffer.from(image.root.bytes).toString()) as object))));

function withRoot({ root, manifests, blobs }: Image, bytes: Uint8Array): Image {
  const { mediaType } = root;
  const others = [...manifests].filter(([digest]) => digest !== root.digest);
  return {
    root: { ...described(bytes, mediaType), bytes },
    manifests: new Map([...others, [digestOf(bytes), { mediaType, bytes }]]),
    blobs,
  };
}

const described = (bytes: Uint8Array, mediaType: string): { mediaType: string; digest: Digest; size: number } => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.byteLength,
});

function manifestOf(content: object, blobs: readonly Uint8Array[]): Image {
  const bytes = textBytes(JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, ...content }));
  const root = { ...described(bytes, OCI_MANIFEST), bytes };
  const stored = new Map(blobs.map((blob) => [digestOf(blob), blob]));
  return withRoot({ root, manifests: new Map(), blobs: stored }, bytes);
}
