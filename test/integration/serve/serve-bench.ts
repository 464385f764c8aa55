import type { S3Client } from '@aws-sdk/client-s3';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { localRegistry } from '../../../lib/cli/serve.ts';
import { DeadlineError } from '../../../lib/errors/cache-error.ts';
import { registryServer } from '../../../lib/http/registry/registry-server.ts';
import { type ServePatience, USUAL_PATIENCE } from '../../../lib/serve/settings.ts';
import type { Services } from '../../../lib/services.ts';
import type { Logger } from '../../../lib/telemetry/logger.ts';
import { localJobs, type LocalJobs } from '../../../lib/jobs/local-jobs.ts';
import type { JobDeps } from '../../../lib/jobs/jobs.ts';
import { openCache, rawS3, startBench, type TestCache, type TestStack } from '../../support/cache.ts';
import { upstreamImage, type Image } from '../../support/images.ts';
import { until } from '../../support/until.ts';
import { startUpstream, type TestUpstream, type UpstreamOptions } from '../../support/upstream/upstream.ts';

/** What everybody may read. */
export const REGISTRY = 'registry.example.test';
/** Docker Hub's name, with an upstream of ours behind it. */
export const HUB = 'docker.io';

/** What a client was told. */
export interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** From the request to the end of the answer. */
  readonly ms: number;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The client leaves. */
  readonly signal?: AbortSignal;
}

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** One process that serves: its memory, its pulls, its port. */
export interface ServingProcess extends AsyncDisposable {
  readonly origin: string;
  readonly jobs: LocalJobs;
  readonly log: LogLine[];
  /** A request is answered within this, instead of 20 s. */
  patienceMs: number;
  /** One request; `path` goes out as it is. A whole URL may lead elsewhere. */
  ask(path: string, options?: AskOptions): Promise<Told>;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Told>;
  head(path: string, headers?: Readonly<Record<string, string>>): Promise<Told>;
  /** Follows redirects, as clients do: all the answers, the last one last. */
  follow(path: string, headers?: Readonly<Record<string, string>>): Promise<readonly Told[]>;
  /** The pulls that run have ended. */
  settled(): Promise<void>;
}

export interface ServeBench extends ServingProcess {
  readonly stack: TestStack;
  readonly cache: TestCache;
  readonly services: Services;
  readonly upstream: TestUpstream;
  readonly s3: S3Client;
  use<T extends AsyncDisposable>(resource: T | Promise<T>): Promise<T>;
  /** Another process on the same bucket and table, with nothing in its memory; `others`: services of another configuration. */
  another(others?: Services, patience?: Partial<ServePatience>): Promise<ServingProcess>;
  /** The upstream holds the image under the tag; the log of requests starts over. Returns the beginning of its paths here. */
  offer(image: Image, repository: string, tag?: string): string;
  /** The image is in the cache, whole, and nothing was asked since. */
  warm(image: Image, repository: string, tag?: string): Promise<string>;
  /** Somebody deleted the object. */
  deleteObject(digest: string): Promise<void>;
}

export interface ServeBenchOptions {
  /** Of the registry in the configuration, beside its endpoint. */
  readonly registry?: Record<string, unknown>;
  readonly registries?: (upstream: TestUpstream) => Record<string, unknown>;
  readonly serve?: Record<string, unknown>;
  readonly limits?: Record<string, unknown>;
  readonly upstream?: UpstreamOptions;
}

/** Few tries, so that giving up is soon done; a lease long enough for a machine under load. */
const LIMITS = { leaseSeconds: 10, attempts: 2, stalls: 2, retryAfterMaxSeconds: 0, partBytes: 5 * 1024 * 1024 };
const MOST_REDIRECTS = 12;
/** Whether a pull is tried again is tested here, not how long it waits for it. */
const RETRY_WAIT_MS = 20;

export const FAST_FRESHNESS = {
  repositories: ['**'],
  ttlSeconds: 0,
};

export async function startServeBench(options: ServeBenchOptions = {}): Promise<ServeBench> {
  const bench = await startBench();
  const { stack } = bench;
  const upstream = await bench.use(startUpstream(options.upstream));
  const own = { endpoint: upstream.origin, credentials: 'none' };
  const registries = {
    [REGISTRY]: { ...own, ...options.registry },
    [HUB]: own,
    ...options.registries?.(upstream),
  };
  const cache = await bench.use(
    openCache(stack, {
      registries,
      limits: { ...LIMITS, ...options.limits },
      ...(options.serve === undefined ? {} : { serve: options.serve }),
    }),
  );
  const { services } = cache;
  const s3 = rawS3(stack);
  const process = await bench.use(startServing(services));
  const offer = (image: Image, repository: string, tag = 'v1'): string => {
    upstream.addImage(repository, upstreamImage(image, tag));
    upstream.requests.length = 0;
    return `/v2/${REGISTRY}/${repository}`;
  };
  return {
    ...process,
    // Not copied: it changes.
    get patienceMs() {
      return process.patienceMs;
    },
    set patienceMs(ms) {
      process.patienceMs = ms;
    },
    stack,
    cache,
    services,
    upstream,
    s3,
    use: (resource) => bench.use(resource),
    another: (others = services, patience = {}) => bench.use(startServing(others, patience)),
    offer,
    async warm(image, repository, tag) {
      const base = offer(image, repository, tag);
      await cache.pull(`${REGISTRY}/${repository}:${tag ?? 'v1'}`);
      upstream.requests.length = 0;
      return base;
    },
    async deleteObject(digest) {
      const key = `blobs/sha256/${digest.slice('sha256:'.length)}`;
      await s3.send(new DeleteObjectCommand({ Bucket: stack.bucket, Key: key }));
    },
    async [Symbol.asyncDispose]() {
      s3.destroy();
      await bench[Symbol.asyncDispose]();
    },
  };
}

/** What `entrepot serve` composes, with a shorter patience where a test wants it. */
async function startServing(services: Services, patience: Partial<ServePatience> = {}): Promise<ServingProcess> {
  const log: LogLine[] = [];
  const logger = loggerInto(log);
  const jobs = localJobs(jobDepsOf(services), (id, error) => logger.error(`pull ${id} stopped`, error));
  const registry = localRegistry(services, jobs, { ...USUAL_PATIENCE, ...patience });
  const server = registryServer(async (request, left) => {
    const patience = deadlineIn(serving.patienceMs);
    try {
      const signal = AbortSignal.any([left, patience.signal]);
      return await registry({ request, signal, logger, metrics: { add: () => undefined } });
    } finally {
      patience.stop();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const agent = new Agent({ keepAlive: true });
  const ask = (path: string, options: AskOptions = {}): Promise<Told> => askAt(agent, origin, path, options);
  const serving: ServingProcess = {
    origin,
    jobs,
    log,
    patienceMs: 20_000,
    ask,
    get: (path, headers = {}) => ask(path, { headers }),
    head: (path, headers = {}) => ask(path, { method: 'HEAD', headers }),
    async follow(path, headers = {}) {
      const all: Told[] = [];
      for (let next: string | undefined = path; next !== undefined;) {
        assert.ok(all.length <= MOST_REDIRECTS, `more than ${MOST_REDIRECTS} redirects`);
        const told: Told = await ask(next, { headers });
        all.push(told);
        next = told.status === 307 ? told.headers.location : undefined;
      }
      return all;
    },
    settled: () => until(() => jobs.running === 0, 30_000),
    async [Symbol.asyncDispose]() {
      agent.destroy();
      server.closeAllConnections();
      server.close();
      await jobs[Symbol.asyncDispose]();
    },
  };
  return serving;
}

function jobDepsOf({ pull, records, plans, workflowLeases: leases }: Services): JobDeps {
  const announcer = { announce: () => Promise.resolve() };
  return { pull, records, plans, leases, announcer, metrics: { add: () => undefined }, retryWaitMs: RETRY_WAIT_MS };
}

function loggerInto(log: LogLine[]): Logger {
  return {
    debug: () => undefined,
    info: (message, fields = {}) => void log.push({ level: 'info', message, fields }),
    warn: (message, fields = {}) => void log.push({ level: 'warn', message, fields }),
    error: (message, error, fields) => void log.push({ level: 'error', message, fields: { ...fields, error } }),
    keep: () => undefined,
  };
}

function deadlineIn(ms: number): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DeadlineError('the time of this call is over')), ms);
  return { signal: controller.signal, stop: () => clearTimeout(timer) };
}

function askAt(
  agent: Agent,
  origin: string,
  path: string,
  { method = 'GET', headers = {}, signal }: AskOptions,
): Promise<Told> {
  const startedMs = performance.now();
  const [, there = origin, target = ''] = /^(http:\/\/[^/]+)?(.*)$/s.exec(path) ?? [];
  const { promise, resolve, reject } = Promise.withResolvers<Told>();
  const { hostname, port } = new URL(there);
  const outgoing = httpRequest(
    { agent, hostname, port, method, path: target, headers, ...(signal === undefined ? {} : { signal }) },
    (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          body: Buffer.concat(chunks),
          ms: performance.now() - startedMs,
        }),
      );
    },
  );
  outgoing.on('error', reject);
  outgoing.end();
  return promise;
}

/** The error of the distribution specification in the answer. */
export function errorOf({ status, headers, body }: Told): { status: number; code: string; message: string } {
  assert.equal(headers['content-type'], 'application/json');
  const { errors } = JSON.parse(body.toString('utf8')) as { errors: { code: string; message: string }[] };
  assert.equal(errors.length, 1);
  const { code, message } = errors[0]!;
  return { status, code, message };
}

/** Status and code: what a client acts upon. */
export const refusalOf = (told: Told): string => {
  const { status, code } = errorOf(told);
  return `${status} ${code}`;
};
