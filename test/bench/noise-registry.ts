/*
 * A registry as a process of its own, read-only and without authentication, whose layers are noise made while they are sent: none is ever in memory.
 * `POST /images` with `{"repository", "layerBytes": [SIZE…]}` publishes an image of that repository under the tag `v1`, and answers its layers.
 * It prints its origin as one line when it listens.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { digestOf, type Digest } from '../../lib/oci/digest.ts';
import { OCI_CONFIG, OCI_MANIFEST } from '../../lib/oci/media-type.ts';
import { noiseChunks } from './noise.ts';

export interface NoiseImageRequest {
  readonly repository: string;
  readonly layerBytes: readonly number[];
}

export interface NoiseLayer {
  readonly digest: Digest;
  readonly size: number;
}

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip';
const ROUTE = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/;

interface Content {
  readonly mediaType: string;
  readonly size: number;
  readonly digest: Digest;
  readonly open: () => Iterable<Buffer>;
}

/** By `<repository>/<manifests or blobs>/<tag or digest>`. */
const contents = new Map<string, Content>();

function held(mediaType: string, value: unknown): Content {
  const bytes = Buffer.from(JSON.stringify(value));
  return { mediaType, size: bytes.byteLength, digest: digestOf(bytes), open: () => [bytes] };
}

function noiseLayer(size: number, seed: string): Content {
  const hash = createHash('sha256');
  for (const chunk of noiseChunks(size, seed)) hash.update(chunk);
  const digest = `sha256:${hash.digest('hex')}` as Digest;
  return { mediaType: LAYER_TYPE, size, digest, open: () => noiseChunks(size, seed) };
}

const descriptor = ({ mediaType, digest, size }: Content) => ({ mediaType, digest, size });

function publish({ repository, layerBytes }: NoiseImageRequest): NoiseLayer[] {
  const layers = layerBytes.map((size, i) => noiseLayer(size, `${repository}/${i}`));
  const config = held(OCI_CONFIG, {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
  });
  const manifest = held(OCI_MANIFEST, {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: descriptor(config),
    layers: layers.map(descriptor),
  });
  for (const pointer of ['v1', manifest.digest]) contents.set(`${repository}/manifests/${pointer}`, manifest);
  for (const blob of [config, ...layers]) contents.set(`${repository}/blobs/${blob.digest}`, blob);
  return layers.map(({ digest, size }) => ({ digest, size }));
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '/';
  if (request.method === 'POST' && path === '/images') {
    response.end(JSON.stringify(publish((await json(request)) as NoiseImageRequest)));
    return;
  }
  if (path === '/v2/') {
    response.end('{}');
    return;
  }
  const [, repository, kind, pointer] = ROUTE.exec(path) ?? [];
  const content = contents.get(`${repository}/${kind}/${pointer}`);
  if (content === undefined) {
    response.writeHead(404, { 'content-type': 'application/json' }).end('{"errors":[]}');
    return;
  }
  response.writeHead(200, {
    'content-type': content.mediaType,
    'content-length': content.size,
    'docker-content-digest': content.digest,
  });
  if (request.method === 'HEAD') response.end();
  else await pipeline(Readable.from(content.open()), response);
}

const server = createServer((request, response) => {
  // A client that went away is seen by the client; there is nobody left to tell.
  handle(request, response).catch(() => response.destroy());
});
server.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
