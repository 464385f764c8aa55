import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { startServedCache } from '../clients/support/served-cache.ts';
import { buildGoProgram, CRANE } from '../go-program.ts';
import { install } from '../install.ts';
import { startServer } from '../server-process.ts';
import { startDistribution } from './docker-registry.ts';

const DISTRIBUTION_3 = { path: 'github.com/distribution/distribution/v3/cmd/registry', version: 'v3.1.2' };

/** The registry's name in the configuration of whoever pulls, whatever upstream stands for it. */
export const NAME = 'registry.example.test';
/** The name of the registry behind an Entrepot that is the endpoint of another registry. */
const ORIGIN = 'origin.example.test';

/** A registry that images are pushed to and pulled from. */
export interface Upstream extends AsyncDisposable {
  /** What is pushed to, without a proxy. */
  readonly origin: string;
  /** In front of it: where Entrepot pulls from. */
  readonly proxy: FaultProxy;
  /** The `registries` entry of whoever pulls. */
  readonly registry: object;
  /** Before the repository's own name in the name that is pulled; empty but where the upstream is asked for one of its own registries. */
  readonly prefix: string;
  /** Before the names of all repositories, where the upstream wants an owner there: with a slash. */
  readonly owner?: string;
  /** The header with which images are pushed, where the upstream wants a login. */
  readonly authorization?: string;
  /** Docker's `config.json` of whoever pulls. */
  readonly docker?: object;
  /** The registry itself, where the upstream is a mirror. */
  readonly lastResort?: FaultProxy;
}

export type StartUpstream = (folder: string) => Promise<Upstream>;

/** Without it a foreign layer is refused, wherever its URL leads. */
const VALIDATION = { manifests: { urls: { allow: ['.*'] } } };

/** Registries that others wrote, by the names that they have in the table. */
export const REGISTRIES: Readonly<Record<string, StartUpstream>> = {
  'docker-registry': async (folder) => {
    await install('docker-registry');
    return distribution(folder, 'docker-registry', VALIDATION);
  },
  'distribution v3': async (folder) => {
    // Its own default refuses an index whose entries it does not have, as version 2 always does.
    const manifests = { ...VALIDATION.manifests, indexes: { platforms: 'none' } };
    return distribution(folder, await buildGoProgram(DISTRIBUTION_3), { manifests });
  },
  'crane registry serve': async () => {
    const crane = await buildGoProgram(CRANE);
    await using starting = new AsyncDisposableStack();
    const commandFor = (port: number): string[] => [crane, 'registry', 'serve', '--address', `127.0.0.1:${port}`];
    const { port } = starting.use(await startServer(commandFor));
    const origin = `http://127.0.0.1:${port}`;
    const proxy = starting.use(await startFaultProxy(origin));
    const resources = starting.move();
    return { ...plain(origin, proxy), [Symbol.asyncDispose]: () => resources.disposeAsync() };
  },
};

/** `entrepot serve` of this tree as an upstream. */
export const ENTREPOTS: Readonly<Record<string, StartUpstream>> = {
  'Entrepot as the endpoint': async (folder) => {
    const { storage, ...upstream } = await startEntrepot(folder, ORIGIN);
    const registry = { endpoint: upstream.proxy.endpoint, credentials: 'none', redirects: [storage.endpoint] };
    return { ...upstream, registry, prefix: `${ORIGIN}/` };
  },
  'Entrepot as a mirror': async (folder) => {
    await using starting = new AsyncDisposableStack();
    const { storage, ...upstream } = starting.use(await startEntrepot(folder, NAME));
    const lastResort = starting.use(await startFaultProxy(upstream.origin));
    const mirrors = [upstream.proxy.endpoint];
    const registry = {
      endpoint: lastResort.endpoint,
      mirrors,
      credentials: 'none',
      redirects: [storage.endpoint],
    };
    const resources = starting.move();
    return { ...upstream, registry, lastResort, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  },
};

async function distribution(folder: string, command: string, validation: object): Promise<Upstream> {
  const registry = await startDistribution(folder, { kind: 'none' }, { command, settings: { validation } });
  return { ...plain(`http://${registry.host}`, registry.proxy), [Symbol.asyncDispose]: registry.close };
}

/** `entrepot serve` of this tree, with `docker-registry` behind it under the name. */
async function startEntrepot(folder: string, name: string): Promise<Upstream & { readonly storage: FaultProxy }> {
  await install('docker-registry');
  await using starting = new AsyncDisposableStack();
  const origin = starting.use(await distribution(folder, 'docker-registry', VALIDATION));
  const { registry } = origin;
  const cache = starting.use(await startServedCache({ registries: { [name]: registry } }));
  const { proxy } = await cache.openDoor();
  const resources = starting.move();
  return {
    ...plain(origin.origin, proxy),
    storage: cache.s3,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** A registry that runs already. */
export async function running(origin: string): Promise<Upstream> {
  const proxy = await startFaultProxy(origin);
  return { ...plain(origin, proxy), [Symbol.asyncDispose]: () => proxy.close() };
}

const plain = (origin: string, proxy: FaultProxy): Omit<Upstream, keyof AsyncDisposable> => ({
  origin,
  proxy,
  registry: { endpoint: proxy.endpoint, credentials: 'none' },
  prefix: '',
});
