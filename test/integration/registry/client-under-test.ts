import { randomBytes } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import { isIP } from 'node:net';
import { after } from 'node:test';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { parseReference, type Reference } from '../../../lib/reference/reference.ts';
import { createUpstreams } from '../../../lib/registry/client.ts';
import type { RegistrySettings, UpstreamLimits } from '../../../lib/registry/settings.ts';
import type { Upstream, Upstreams } from '../../../lib/registry/upstream.ts';
import { startUpstream, type TestUpstream, type UpstreamOptions } from '../../support/upstream/upstream.ts';

export const REGISTRY = 'registry.example.test';
export const PATH = 'team/app';
export const LIMITS: UpstreamLimits = {
  manifestBytes: 64 * 1024,
  redirects: 3,
  attempts: 3,
  retryAfterMaxMs: 3000,
  connectTimeoutMs: 2000,
  headersTimeoutMs: 500,
  bodyTimeoutMs: 400,
  stalls: 2,
};

export const soon = (): AbortSignal => AbortSignal.timeout(15_000);
export const tagged = (tag = 'v1'): Reference => parseReference(`${REGISTRY}/${PATH}:${tag}`);

export interface ClientOptions {
  readonly settings?: Partial<RegistrySettings>;
  readonly limits?: Partial<UpstreamLimits>;
  readonly dockerConfigPath?: string;
  /** Addresses of names; others do not exist. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly lookup?: LookupFunction;
}

/** Resolves only the given names. */
function lookupOf(names: Readonly<Record<string, readonly string[]>>): LookupFunction {
  return (host, options, callback) => {
    const addresses = (names[host] ?? []).map((address) => ({ address, family: isIP(address) }));
    const [first] = addresses;
    if (first === undefined)
      callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' }), []);
    else if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  };
}

/** A client of one registry at `endpoint`. Closed after the test file. */
export function clientOf(endpoint: string, options: ClientOptions = {}): Upstreams {
  const settings: RegistrySettings = {
    name: REGISTRY,
    endpoint: new URL(endpoint),
    endpointMayBePrivate: true,
    mirrors: [],
    isPublic: true,
    credentials: { kind: 'none' },
    realms: [],
    redirects: [],
    passRedirects: [],
    allow: [],
    platforms: [],
    maxConnections: 8,
    ...options.settings,
  };
  const upstreams = createUpstreams({
    registries: new Map([[settings.name, settings]]),
    limits: { ...LIMITS, ...options.limits },
    lookup: options.lookup ?? lookupOf(options.names ?? {}),
    ...(options.dockerConfigPath === undefined ? {} : { dockerConfigPath: options.dockerConfigPath }),
  });
  after(() => upstreams.close());
  return upstreams;
}

/** The repository `team/app` at `endpoint`. */
export async function openRepository(endpoint: string, options: ClientOptions = {}): Promise<Upstream> {
  return await clientOf(endpoint, options).open({ registry: REGISTRY, path: PATH });
}

/** An upstream that ends with the test file. */
export async function upstreamForTest(options: UpstreamOptions = {}): Promise<TestUpstream> {
  const upstream = await startUpstream(options);
  after(() => upstream.close());
  return upstream;
}

export interface SampleBlob {
  readonly bytes: Buffer;
  readonly descriptor: Descriptor;
}

/** Random bytes as a blob of `team/app`. */
export function addBlob(upstream: TestUpstream, bytesCount = 1000): SampleBlob {
  const bytes = randomBytes(bytesCount);
  upstream.putBlob(PATH, bytes);
  return { bytes, descriptor: { mediaType: 'application/octet-stream', digest: digestOf(bytes), size: bytesCount } };
}

/** A manifest of `team/app`; what it says does not matter here. */
export function addManifest(
  upstream: TestUpstream,
  tag = 'v1',
  text = JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, annotations: { tag } }),
): SampleBlob {
  const bytes = Buffer.from(text);
  upstream.putManifest(PATH, tag, bytes, OCI_MANIFEST);
  return { bytes, descriptor: { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.byteLength } };
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** Opens and reads the whole blob. */
export async function readBlob(repository: Upstream, blob: SampleBlob, offset = 0): Promise<Buffer> {
  return await collect(await repository.openBlob(blob.descriptor, offset, soon()));
}
