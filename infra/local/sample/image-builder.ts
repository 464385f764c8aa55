import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import {
  DOCKER_CONFIG,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from '../../../lib/oci/media-type.ts';
import { parsePlatform, type Platform } from '../../../lib/oci/platform.ts';
import { textBytes, writeTar, type FileSpec } from './tar.ts';

/** Of a manifest, an index or a config, with its media type. */
export interface ManifestContent {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Everything that a registry needs to serve `root`, in memory. */
export interface Image {
  readonly root: Descriptor & { readonly bytes: Uint8Array };
  /** Every manifest and index, the root's too. */
  readonly manifests: ReadonlyMap<Digest, ManifestContent>;
  /** Every config and layer. Foreign layers are not among them. */
  readonly blobs: ReadonlyMap<Digest, Uint8Array>;
}

export type Compression = 'gzip' | 'zstd' | 'none';
export type MediaTypes = 'oci' | 'docker';
export type Annotations = Readonly<Record<string, string>>;

/** A layer by its files or a tar archive; or any bytes with any media type; or a foreign layer, which no registry holds. */
export type LayerSpec =
  | { readonly files: Readonly<Record<string, FileSpec>>; readonly compression?: Compression }
  | { readonly tar: Uint8Array; readonly compression?: Compression }
  | { readonly bytes: Uint8Array; readonly mediaType: string; readonly annotations?: Annotations }
  | { readonly foreign: Descriptor; readonly urls: readonly string[] };

export interface ImageSpec {
  /** `os/arch[/variant]`, for the config. */
  readonly platform: string;
  readonly layers: readonly LayerSpec[];
  readonly mediaTypes?: MediaTypes;
  /** The `config` member of the image config: Entrypoint, Env, … */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly annotations?: Annotations;
  /** OCI manifests may lack `mediaType`. */
  readonly omitMediaType?: boolean;
}

export interface IndexEntrySpec {
  readonly image: Image;
  /** `os/arch[/variant]`. Without it the entry has no platform, as a nested index. */
  readonly platform?: string;
  /** The manifest that this one attests: annotated as BuildKit does, with the platform `unknown/unknown`. */
  readonly attests?: Image;
  readonly annotations?: Annotations;
}

export interface IndexSpec {
  readonly entries: readonly IndexEntrySpec[];
  readonly mediaTypes?: MediaTypes;
  readonly annotations?: Annotations;
  readonly omitMediaType?: boolean;
}

export interface ArtifactSpec {
  readonly artifactType?: string;
  /** Default: an empty one. */
  readonly config?: ManifestContent;
  readonly subject?: Image;
  readonly blobs: readonly {
    readonly bytes: Uint8Array;
    readonly mediaType: string;
    readonly annotations?: Annotations;
  }[];
}

type Json = Record<string, unknown>;

const EMPTY_CONFIG_TYPE = 'application/vnd.oci.empty.v1+json';
const IN_TOTO_TYPE = 'application/vnd.in-toto+json';

const LAYER_TYPES: Readonly<Record<MediaTypes, Readonly<Record<Compression, string>>>> = {
  oci: {
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
    none: 'application/vnd.oci.image.layer.v1.tar',
  },
  docker: {
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
    none: 'application/vnd.docker.image.rootfs.diff.tar',
  },
};

/**
 * A single image for one platform. The same specification gives the same digests, on the same version of Node (its compressors).
 * Config and manifest agree with the layers, so that real clients can unpack and run it.
 */
export function buildImage(spec: ImageSpec): Image {
  const { mediaTypes = 'oci', config, annotations, omitMediaType = false } = spec;
  const layers = spec.layers.map((layer) => buildLayer(layer, mediaTypes));
  const configJson = {
    created: '1970-01-01T00:00:00Z',
    ...platformJson(parsePlatform(spec.platform)),
    config: config ?? {},
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'entrepot image builder' })),
  };
  return assemble(
    mediaTypes === 'oci' ? OCI_MANIFEST : DOCKER_MANIFEST,
    { mediaType: mediaTypes === 'oci' ? OCI_CONFIG : DOCKER_CONFIG, bytes: jsonBytes(configJson) },
    layers,
    { ...(annotations === undefined ? {} : { annotations }) },
    omitMediaType,
  );
}

/** An index of `entries`, with all their content. */
export function buildIndex(spec: IndexSpec): Image {
  const mediaType = spec.mediaTypes === 'docker' ? DOCKER_LIST : OCI_INDEX;
  const bytes = jsonBytes({
    schemaVersion: 2,
    ...(spec.omitMediaType === true ? {} : { mediaType }),
    manifests: spec.entries.map(entryJson),
    ...(spec.annotations === undefined ? {} : { annotations: spec.annotations }),
  });
  const images = spec.entries.map((entry) => entry.image);
  return {
    root: { ...describe(bytes, mediaType), bytes },
    manifests: new Map([
      ...images.flatMap((image) => [...image.manifests]),
      [digestOf(bytes), { mediaType, bytes }] as const,
    ]),
    blobs: new Map(images.flatMap((image) => [...image.blobs])),
  };
}

/** An attestation manifest for `subject`, shaped as BuildKit writes them: one in-toto statement. */
export function buildAttestation(subject: Image, predicateType = 'https://slsa.dev/provenance/v0.2'): Image {
  const statement = jsonBytes({
    _type: 'https://in-toto.io/Statement/v0.1',
    predicateType,
    subject: [{ name: 'manifest', digest: { sha256: subject.root.digest.slice('sha256:'.length) } }],
    predicate: { builder: { id: 'entrepot image builder' }, buildType: 'https://mobyproject.org/buildkit@v1' },
  });
  return buildImage({
    platform: 'unknown/unknown',
    layers: [
      { bytes: statement, mediaType: IN_TOTO_TYPE, annotations: { 'in-toto.io/predicate-type': predicateType } },
    ],
  });
}

/** An artifact: https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage */
export function buildArtifact({ artifactType, config, subject, blobs }: ArtifactSpec): Image {
  return assemble(
    OCI_MANIFEST,
    config ?? { mediaType: EMPTY_CONFIG_TYPE, bytes: textBytes('{}') },
    blobs.map((blob) => buildLayer(blob, 'oci')),
    {
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(subject === undefined ? {} : { subject: descriptorJson(subject.root) }),
    },
    false,
  );
}

interface BuiltLayer {
  readonly descriptor: Descriptor & { readonly urls?: readonly string[]; readonly annotations?: Annotations };
  /** The digest of the uncompressed archive. */
  readonly diffId: Digest;
  /** None for a foreign layer. */
  readonly bytes?: Uint8Array;
}

function buildLayer(spec: LayerSpec, mediaTypes: MediaTypes): BuiltLayer {
  if ('foreign' in spec) return { descriptor: { ...spec.foreign, urls: spec.urls }, diffId: spec.foreign.digest };
  if ('bytes' in spec) {
    const { bytes, mediaType, annotations } = spec;
    const described = describe(bytes, mediaType);
    return {
      descriptor: annotations === undefined ? described : { ...described, annotations },
      diffId: described.digest,
      bytes,
    };
  }
  const archive = 'tar' in spec ? spec.tar : writeTar(spec.files);
  const compression = spec.compression ?? 'gzip';
  const bytes = compress(archive, compression);
  return { descriptor: describe(bytes, LAYER_TYPES[mediaTypes][compression]), diffId: digestOf(archive), bytes };
}

function compress(bytes: Uint8Array, compression: Compression): Uint8Array {
  if (compression === 'none') return bytes;
  return compression === 'gzip' ? gzipSync(bytes) : zstdCompressSync(bytes);
}

function assemble(
  mediaType: string,
  config: ManifestContent,
  layers: readonly BuiltLayer[],
  more: Json,
  omitMediaType: boolean,
): Image {
  const bytes = jsonBytes({
    schemaVersion: 2,
    ...(omitMediaType ? {} : { mediaType }),
    config: describe(config.bytes, config.mediaType),
    layers: layers.map((layer) => layer.descriptor),
    ...more,
  });
  const blobs = new Map<Digest, Uint8Array>([[digestOf(config.bytes), config.bytes]]);
  for (const layer of layers) if (layer.bytes !== undefined) blobs.set(layer.descriptor.digest, layer.bytes);
  return {
    root: { ...describe(bytes, mediaType), bytes },
    manifests: new Map([[digestOf(bytes), { mediaType, bytes }]]),
    blobs,
  };
}

function entryJson({ image, platform, attests, annotations }: IndexEntrySpec): Json {
  const all = {
    ...(attests === undefined
      ? {}
      : {
          'vnd.docker.reference.digest': attests.root.digest,
          'vnd.docker.reference.type': 'attestation-manifest',
        }),
    ...annotations,
  };
  const said = platform ?? (attests === undefined ? undefined : 'unknown/unknown');
  return {
    ...descriptorJson(image.root),
    ...(said === undefined ? {} : { platform: platformJson(parsePlatform(said)) }),
    ...(Object.keys(all).length === 0 ? {} : { annotations: all }),
  };
}

const platformJson = ({ os, architecture, variant }: Platform): Json => ({
  architecture,
  os,
  ...(variant === undefined ? {} : { variant }),
});

const descriptorJson = ({ mediaType, digest, size }: Descriptor): Json => ({ mediaType, digest, size });

const describe = (bytes: Uint8Array, mediaType: string): Descriptor => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.byteLength,
});

const jsonBytes = (value: Json): Uint8Array => textBytes(JSON.stringify(value));
