import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { isIP, type LookupFunction } from 'node:net';
import { join } from 'node:path';
import type { Digest } from '../../../lib/oci/digest.ts';
import { createUpstreams } from '../../../lib/registry/client.ts';
import type { ServePatience } from '../../../lib/serve/settings.ts';
import type { Services } from '../../../lib/services.ts';
import { noiseImage, upstreamImage, type Image } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { REGISTRY, startServeBench, type ServingProcess, type Told } from './serve-bench.ts';

/** With a password, and its storage behind the same CDN. */
export const PRIVATE = 'private.example.test';
export const LOGIN = { username: 'alice', password: 'the secret of alice' };
/** Names no hosts that clients may be sent to. */
export const SILENT = 'silent.example.test';
export const LAYER_BYTES = 100_000;

const PASSED = ['cdn.example.test', '*.blobs.example.test'];
const NAMES: Readonly<Record<string, readonly string[]>> = {
  'cdn.example.test': ['93.184.215.14', '2606:4700::1111'],
  'mixed.blobs.example.test': ['93.184.215.14', '10.1.2.3'],
};

/** A layer on its way. */
export interface OnItsWay {
  /** Of the repository, and of the layer. */
  readonly base: string;
  readonly path: string;
  readonly layer: Digest;
  readonly bytes: Buffer;
  /** Lets the rest of it come. */
  readonly comes: () => void;
}

interface OnItsWayOptions {
  readonly at?: ServingProcess;
  readonly registry?: string;
}

/** A process that may send clients on, before registries that redirect for their blobs. */
export interface RedirectBench extends AsyncDisposable {
  readonly services: Services;
  /** Of two registries, the one that has `mirror` and names hosts, and SILENT: a GET of a blob here asks where that is. */
  readonly upstream: TestUpstream;
  /** What their jobs read. */
  readonly mirror: TestUpstream;
  readonly company: TestUpstream;
  readonly process: ServingProcess;
  /** With nothing in its memory. */
  another(services?: Services, patience?: Partial<ServePatience>): Promise<ServingProcess>;
  /** The manifest has landed; half of the layer comes from the mirror, the other half when the test lets it. */
  onItsWay(name: string, options?: OnItsWayOptions): Promise<OnItsWay>;
  /** Half of the layer comes from the mirror, the other half when the test calls what this returns. */
  hold(layer: Digest): () => void;
  isPresent(digest: Digest): Promise<boolean>;
  isAtStore(told: Told): boolean;
  deleteObject(digest: Digest): Promise<void>;
}

export async function startRedirectBench(): Promise<RedirectBench> {
  const mirror = await startUpstream();
  const company = await startUpstream({ auth: { kind: 'bearer', users: { [LOGIN.username]: LOGIN.password } } });
  const bench = await startServeBench({
    registry: { mirrors: [mirror.origin], passRedirects: PASSED },
    registries: ({ origin }) => ({
      [PRIVATE]: { endpoint: company.origin, credentials: 'docker', passRedirects: PASSED },
      [SILENT]: { endpoint: origin, credentials: 'none', mirrors: [mirror.origin] },
    }),
    serve: { onBlobMiss: 'redirect', waiting: 30 },
  });
  const { cache, stack, upstream } = bench;
  const logins = JSON.stringify({ auths: { [PRIVATE]: LOGIN } });
  await writeFile(join(cache.environment.DOCKER_CONFIG!, 'config.json'), logins);
  const services = withNames(bench.services);
  const process = await bench.another(services);
  const hold = (layer: Digest): (() => void) => {
    const { promise: restAfter, resolve } = Promise.withResolvers<undefined>();
    mirror.fault(when({ kind: 'blob', method: 'GET', reference: layer }, { restAfter }));
    return () => resolve(undefined);
  };
  return {
    services,
    upstream,
    mirror,
    company,
    process,
    another: (others = services, patience = {}) => bench.another(others, patience),
    async onItsWay(name, { at = process, registry = REGISTRY } = {}) {
      const image = noiseImage({ name, layerBytes: [LAYER_BYTES] });
      const layer = layerOf(image);
      for (const one of [upstream, mirror]) one.addImage(`app/${name}`, upstreamImage(image, 'v1'));
      const comes = hold(layer);
      const base = `/v2/${registry}/app/${name}`;
      assert.equal((await at.get(`${base}/manifests/v1`)).status, 200);
      return { base, path: `${base}/blobs/${layer}`, layer, bytes: Buffer.from(image.blobs.get(layer)!), comes };
    },
    hold,
    isPresent: async (digest) => (await services.catalog.findBlobs([digest], forever)).get(digest)?.state === 'present',
    isAtStore: ({ status, headers }) => status === 307 && headers.location!.startsWith(stack.s3Endpoint),
    deleteObject: (digest) => bench.deleteObject(digest),
    async [Symbol.asyncDispose]() {
      await services.pull.upstreams.close();
      await bench[Symbol.asyncDispose]();
      await Promise.all([mirror.close(), company.close()]);
    },
  };
}

export const layerOf = (image: Image): Digest =>
  [...image.blobs].find(([, { byteLength }]) => byteLength === LAYER_BYTES)![0];

/** The services, with registries that know no other names. */
function withNames(of: Services): Services {
  const { registries, limits, dockerConfigPath } = of.config;
  const docker = dockerConfigPath === undefined ? {} : { dockerConfigPath };
  const upstreams = createUpstreams({ registries, limits: limits.upstream, lookup, ...docker });
  return { ...of, pull: { ...of.pull, upstreams } };
}

const lookup: LookupFunction = (host, options, callback) => {
  const addresses = (NAMES[host] ?? []).map((address) => ({ address, family: isIP(address) }));
  const [first] = addresses;
  if (first === undefined) callback(Object.assign(new Error(`no ${host}`), { code: 'ENOTFOUND' }), []);
  else if (options.all === true) callback(null, addresses);
  else callback(null, first.address, first.family);
};
