import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Digest } from '../../../lib/oci/digest.ts';
import type { Image, ManifestContent } from './image-builder.ts';
import { closeServer } from '../processes.ts';

export type RequestKind = 'ping' | 'manifest' | 'blob' | 'other';

/** One request that the registry got. */
export interface LoggedRequest {
  readonly method: string;
  readonly path: string;
  readonly kind: RequestKind;
}

export interface SampleRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`: what a reference to it begins with. */
  readonly host: string;
  /** `http://127.0.0.1:PORT`. */
  readonly origin: string;
  /** Every request so far, oldest first. */
  readonly requests: readonly LoggedRequest[];
  /** Publishes `image` in `repository`, under `tag` if one is given. */
  publish(repository: string, tag: string | undefined, image: Image): void;
  /** Ends every connection. Idempotent. */
  close(): Promise<void>;
}

interface Repository {
  readonly tags: Map<string, Digest>;
  readonly manifests: Map<Digest, ManifestContent>;
  readonly blobs: Map<Digest, Uint8Array>;
}

const ROUTE = /^\/v2\/(?<repository>.+)\/(?<kind>manifests|blobs)\/(?<pointer>[^/]+)$/;
const BLOB_TYPE = 'application/octet-stream';

/**
 * A registry on loopback that behaves as the distribution specification says, read-only, from memory, without authentication.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
 */
export async function startSampleRegistry({ port = 0 }: { port?: number } = {}): Promise<SampleRegistry> {
  const repositories = new Map<string, Repository>();
  const requests: LoggedRequest[] = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://registry').pathname;
    const route = ROUTE.exec(path)?.groups;
    requests.push({ method: request.method ?? '', path, kind: kindOf(path, route?.kind) });
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      fail(request, response, 405, 'UNSUPPORTED', 'this registry is read-only');
    } else if (path === '/v2/' || path === '/v2') {
      send(request, response, textContent('{}'));
    } else if (route === undefined) {
      fail(request, response, 404, 'NAME_UNKNOWN', 'no such route');
    } else {
      const found = find(repositories.get(route.repository ?? ''), route.kind ?? '', route.pointer ?? '');
      if (typeof found === 'string') fail(request, response, 404, found, `${path} is not here`);
      else send(request, response, found, found.digest);
    }
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;

  const publish = (name: string, tag: string | undefined, image: Image): void => {
    const repository = repositories.get(name) ?? { tags: new Map(), manifests: new Map(), blobs: new Map() };
    repositories.set(name, repository);
    for (const [digest, manifest] of image.manifests) repository.manifests.set(digest, manifest);
    for (const [digest, bytes] of image.blobs) repository.blobs.set(digest, bytes);
    if (tag !== undefined) repository.tags.set(tag, image.root.digest);
  };
  const close = (): Promise<void> => closeServer(server);
  return { host, origin: `http://${host}`, requests, publish, close, [Symbol.asyncDispose]: close };
}

function kindOf(path: string, kind: string | undefined): RequestKind {
  if (kind === 'manifests') return 'manifest';
  if (kind === 'blobs') return 'blob';
  return path === '/v2/' || path === '/v2' ? 'ping' : 'other';
}

/** The content of the route with its digest, or an error code of the specification. */
function find(
  repository: Repository | undefined,
  kind: string,
  pointer: string,
): (ManifestContent & { digest: string }) | 'NAME_UNKNOWN' | 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN' {
  if (repository === undefined) return 'NAME_UNKNOWN';
  if (kind === 'blobs') {
    const bytes = repository.blobs.get(pointer as Digest);
    return bytes === undefined ? 'BLOB_UNKNOWN' : { mediaType: BLOB_TYPE, bytes, digest: pointer };
  }
  const digest = repository.tags.get(pointer) ?? (pointer as Digest);
  const manifest = repository.manifests.get(digest);
  return manifest === undefined ? 'MANIFEST_UNKNOWN' : { ...manifest, digest };
}

/** Sends the content, or the one range of a blob that was asked for; for HEAD the headers alone. */
function send(request: IncomingMessage, response: ServerResponse, content: ManifestContent, digest?: string): void {
  const { mediaType, bytes } = content;
  const headers: Record<string, string | number> = {
    'docker-distribution-api-version': 'registry/2.0',
    'content-type': mediaType,
    ...(digest === undefined ? {} : { 'docker-content-digest': digest, etag: `"${digest}"` }),
    ...(mediaType === BLOB_TYPE ? { 'accept-ranges': 'bytes' } : {}),
  };
  const range = mediaType === BLOB_TYPE ? rangeOf(request.headers.range, bytes.byteLength) : undefined;
  if (range === 'unsatisfiable') {
    response.writeHead(416, { ...headers, 'content-range': `bytes */${bytes.byteLength}`, 'content-length': 0 });
    response.end();
    return;
  }
  const body = range === undefined ? bytes : bytes.subarray(range.first, range.last + 1);
  if (range !== undefined) headers['content-range'] = `bytes ${range.first}-${range.last}/${bytes.byteLength}`;
  response.writeHead(range === undefined ? 200 : 206, { ...headers, 'content-length': body.byteLength });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** A single byte range (RFC 9110, section 14.1.2); undefined, so the whole, for what is not one. */
function rangeOf(
  text: string | undefined,
  size: number,
): { first: number; last: number } | 'unsatisfiable' | undefined {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(text ?? '') ?? [];
  if (from === '' && to === '') return undefined;
  const first = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const last = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined;
  return first >= size || (from === '' && Number(to) === 0) ? 'unsatisfiable' : { first, last };
}

function fail(request: IncomingMessage, response: ServerResponse, status: number, code: string, message: string): void {
  const { bytes } = textContent(JSON.stringify({ errors: [{ code, message }] }));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.byteLength });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

const textContent = (text: string): ManifestContent => ({ mediaType: 'application/json', bytes: Buffer.from(text) });
