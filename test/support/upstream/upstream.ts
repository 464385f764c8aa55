import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { authorise, issueToken, TokenBook, type UpstreamAuth } from './auth.ts';
import { sendAnswer, type Action, type Answer } from './answer.ts';
import { blobAnswer, referrersAnswer, tagsAnswer } from './content.ts';

export type { UpstreamAuth } from './auth.ts';
export type { Action, Answer } from './answer.ts';
export { blobAnswer } from './content.ts';

/** What a request is for; `other` is outside of the distribution API (the target of a redirect, for example). */
export type RequestKind = 'ping' | 'token' | 'manifest' | 'blob' | 'tags' | 'referrers' | 'other';

/** One request as it arrived, kept in the log. */
export interface UpstreamRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly kind: RequestKind;
  /** Of manifests, blobs, tags and referrers. */
  readonly repository?: string;
  /** The tag or digest asked for. */
  readonly reference?: string;
  /** The form of a POST to the token realm. */
  readonly body: string;
  readonly arrivedMs: number;
}

/**
 * Decides what happens instead of the well-behaved answer. `undefined` leaves the answer to the next fault, and in the end as it is.
 * The first fault that gives an action wins; faults are asked in the order in which they were added.
 */
export type Fault = (request: UpstreamRequest, answer: Answer) => Action | undefined;

export interface UpstreamManifest {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly tags?: readonly string[];
  /** Another name at the upstream, besides its SHA-256. */
  readonly digest?: string;
}

/** What `addImage` takes: every manifest (children and index alike) and every blob. */
export interface UpstreamImage {
  readonly manifests: readonly UpstreamManifest[];
  /** By digest. A key that is not the digest of its bytes is served as it is: that is one way to serve wrong content. */
  readonly blobs: ReadonlyMap<string, { readonly bytes: Uint8Array }>;
}

export interface UpstreamOptions {
  readonly auth?: UpstreamAuth;
  /** PEM; then the upstream speaks https. See `selfSigned` in certificate.ts. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** False: Range is ignored, as some registries do. */
  readonly ranges?: boolean;
}

/** A real HTTP registry on loopback that misbehaves on demand. */
export interface TestUpstream extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly port: number;
  /** All requests, oldest first. Set `length = 0` to start over. */
  readonly requests: UpstreamRequest[];
  /** How many logged requests match. */
  count(match?: RequestMatch): number;
  /** Adds or replaces an image. Tags of it move. */
  addImage(repository: string, image: UpstreamImage): void;
  /** Stores a manifest under a tag or digest, whatever the bytes are. Returns the digest of the bytes; it is served by that, too. */
  putManifest(repository: string, reference: string, bytes: Uint8Array, mediaType: string): string;
  /** Stores a blob under its digest, or under `digest` if given. Returns the digest. */
  putBlob(repository: string, bytes: Uint8Array, digest?: string): string;
  deleteBlob(repository: string, digest: string): void;
  deleteManifest(repository: string, reference: string): void;
  /** Sets the referrers of a manifest, at most `pageSize` in each answer. Other manifests have no referrers API. */
  putReferrers(repository: string, subject: string, referrers: readonly object[], pageSize?: number): void;
  /** Adds a fault; the returned function removes it. */
  fault(fault: Fault): () => void;
  clearFaults(): void;
  /** Revokes all tokens issued so far. */
  revokeTokens(): void;
  close(): Promise<void>;
}

export interface RequestMatch {
  readonly kind?: RequestKind;
  readonly method?: string;
  readonly repository?: string;
  readonly reference?: string;
  readonly path?: string;
}

export function matches(request: UpstreamRequest, match: RequestMatch): boolean {
  return (Object.keys(match) as (keyof RequestMatch)[]).every(
    (key) => match[key] === undefined || request[key] === match[key],
  );
}

/** The action for every request that matches. */
export function when(match: RequestMatch, action: Action | ((answer: Answer) => Action | undefined)): Fault {
  return (request, answer) =>
    matches(request, match) ? (typeof action === 'function' ? action(answer) : action) : undefined;
}

/** The fault, for its first `n` actions only. */
export function times(n: number, fault: Fault): Fault {
  let left = n;
  return (request, answer) => {
    if (left <= 0) return undefined;
    const action = fault(request, answer);
    if (action !== undefined) left--;
    return action;
  };
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

interface RepositoryContent {
  /** By tag and by digest. */
  readonly manifests: Map<string, { bytes: Uint8Array; mediaType: string; digest: string }>;
  readonly blobs: Map<string, Uint8Array>;
  /** By the manifest that is referred to. */
  readonly referrers: Map<string, { readonly pages: readonly (readonly object[])[] }>;
}

/** Starts an upstream on 127.0.0.1, on a free port. */
export async function startUpstream(options: UpstreamOptions = {}): Promise<TestUpstream> {
  const content = new Map<string, RepositoryContent>();
  const requests: UpstreamRequest[] = [];
  const faults: Fault[] = [];
  const tokens = new TokenBook();
  let origin = '';

  const handle = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = await readRequest(incoming);
    requests.push(request);
    const answer = answerTo(request, options, content, tokens, origin);
    let action: Action | undefined;
    for (const fault of [...faults]) {
      action = fault(request, answer);
      if (action !== undefined) break;
    }
    await sendAnswer(incoming, response, answer, action);
  };
  const listener = (incoming: IncomingMessage, response: ServerResponse): void => {
    // Many tests disconnect during the answer; there is nothing to report.
    handle(incoming, response).catch(() => response.destroy());
  };
  const server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
  server.keepAliveTimeout = 30_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const host = `127.0.0.1:${port}`;
  origin = `${options.tls === undefined ? 'http' : 'https'}://${host}`;

  const repositoryOf = (name: string): RepositoryContent => {
    const known = content.get(name) ?? { manifests: new Map(), blobs: new Map(), referrers: new Map() };
    content.set(name, known);
    return known;
  };
  const putManifest = (
    repository: string,
    reference: string,
    bytes: Uint8Array,
    mediaType: string,
    digest = digestOf(bytes),
  ): string => {
    for (const name of [digestOf(bytes), digest, reference]) {
      repositoryOf(repository).manifests.set(name, { bytes, mediaType, digest });
    }
    return digestOf(bytes);
  };
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };

  return {
    origin,
    host,
    port,
    requests,
    count: (match = {}) => requests.filter((request) => matches(request, match)).length,
    addImage: (repository, image) => {
      for (const { bytes, mediaType, tags, digest } of image.manifests)
        for (const reference of tags === undefined || tags.length === 0 ? [digestOf(bytes)] : tags)
          putManifest(repository, reference, bytes, mediaType, digest);
      for (const [digest, { bytes }] of image.blobs) repositoryOf(repository).blobs.set(digest, bytes);
    },
    putManifest,
    putBlob: (repository, bytes, digest = digestOf(bytes)) => {
      repositoryOf(repository).blobs.set(digest, bytes);
      return digest;
    },
    deleteBlob: (repository, digest) => void repositoryOf(repository).blobs.delete(digest),
    deleteManifest: (repository, reference) => void repositoryOf(repository).manifests.delete(reference),
    putReferrers: (repository, subject, referrers, pageSize = Infinity) => {
      const size = Math.min(pageSize, Math.max(referrers.length, 1));
      const count = Math.max(Math.ceil(referrers.length / size), 1);
      const pages = Array.from({ length: count }, (_, page) => referrers.slice(page * size, (page + 1) * size));
      repositoryOf(repository).referrers.set(subject, { pages });
    },
    fault: (fault) => {
      faults.push(fault);
      return () => {
        const at = faults.indexOf(fault);
        if (at >= 0) faults.splice(at, 1);
      };
    },
    clearFaults: () => void (faults.length = 0),
    revokeTokens: () => tokens.revokeAll(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

const MAX_REQUEST_BODY_BYTES = 64 * 1024;

async function readRequest(incoming: IncomingMessage): Promise<UpstreamRequest> {
  const arrivedMs = Date.now();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > MAX_REQUEST_BODY_BYTES) throw new Error('test upstream: request body too long');
    chunks.push(chunk);
  }
  const url = new URL(incoming.url ?? '/', 'http://upstream.invalid');
  const api = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(url.pathname);
  const kinds = { manifests: 'manifest', blobs: 'blob', tags: 'tags', referrers: 'referrers' } as const;
  const kind: RequestKind =
    url.pathname === '/v2/'
      ? 'ping'
      : url.pathname === '/token'
        ? 'token'
        : api === null
          ? 'other'
          : kinds[api[2] as keyof typeof kinds];
  return {
    method: incoming.method ?? 'GET',
    path: url.pathname,
    query: url.searchParams,
    headers: incoming.headers,
    kind,
    ...(api === null ? {} : { repository: api[1]!, reference: decodeURIComponent(api[3]!) }),
    body: Buffer.concat(chunks).toString('utf8'),
    arrivedMs,
  };
}

const errorAnswer = (status: number, code: string, message: string): Answer => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from(JSON.stringify({ errors: [{ code, message }] })),
});

/** The answer of a well-behaved registry. */
function answerTo(
  request: UpstreamRequest,
  options: UpstreamOptions,
  content: ReadonlyMap<string, RepositoryContent>,
  tokens: TokenBook,
  origin: string,
): Answer {
  const { auth } = options;
  if (request.kind === 'token' && auth?.kind === 'bearer') return issueToken(request, auth, tokens);
  if (!request.path.startsWith('/v2/')) return errorAnswer(404, 'NOT_FOUND', 'no such page');
  const refusal = auth === undefined ? undefined : authorise(request, auth, tokens, origin);
  if (refusal !== undefined) return refusal;
  if (request.kind === 'ping') return { status: 200, headers: {}, body: Buffer.from('{}') };
  const repository = content.get(request.repository ?? '');
  if (request.kind === 'manifest') {
    const manifest = repository?.manifests.get(request.reference ?? '');
    if (manifest === undefined) return errorAnswer(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    return {
      status: 200,
      headers: { 'content-type': manifest.mediaType, 'docker-content-digest': manifest.digest },
      body: manifest.bytes,
    };
  }
  if (request.kind === 'tags') {
    if (repository === undefined) return errorAnswer(404, 'NAME_UNKNOWN', 'repository name not known to registry');
    return tagsAnswer(request, [...repository.manifests.keys()]);
  }
  const referrers = request.kind === 'referrers' ? repository?.referrers.get(request.reference ?? '') : undefined;
  if (referrers !== undefined) return referrersAnswer(request, referrers.pages);
  const blob = request.kind === 'blob' ? repository?.blobs.get(request.reference ?? '') : undefined;
  if (blob === undefined) return errorAnswer(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
  return blobAnswer(blob, request, options.ranges !== false);
}
