import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ServedRegistry } from '../../../../lib/cli/mirror-config/served-cache.ts';
import { startUpstream, type TestUpstream } from '../../../support/upstream/upstream.ts';
import { startDockerRegistry, type DockerRegistry } from '../../registry/docker-registry.ts';
import { startTokenServer, type TokenServer } from '../../token-server.ts';
import type { Login } from './registry-client.ts';

export const NAMED = 'registry.example.test';
export const HUB = 'docker.io';
export const PRIVATE = 'private.example.test';
/** Tags whose registry is asked at each pull. */
export const MOVING = 'moving-*';

/** The registries behind the cache: two that count, one of them in the place of Docker Hub, and Debian's with token authentication. */
export interface Upstreams extends AsyncDisposable {
  readonly named: TestUpstream;
  readonly hub: TestUpstream;
  readonly private: DockerRegistry;
  readonly tokens: TokenServer;
  /** Of the private registry. */
  readonly login: Login;
  readonly served: readonly ServedRegistry[];
  /** The sections of Entrepot's configuration, and Docker's `config.json`. */
  readonly configuration: {
    readonly registries: Readonly<Record<string, object>>;
    readonly freshness: readonly object[];
    readonly docker: object;
  };
}

export async function startUpstreams(folder: string): Promise<Upstreams> {
  await using starting = new AsyncDisposableStack();
  const login = { user: 'harbour', password: 'a password, "quoted"' };
  const named = starting.use(await startUpstream());
  const hub = starting.use(await startUpstream());
  mkdirSync(folder, { recursive: true });
  const users = new Map([[login.user, login.password]]);
  const tokens = starting.use(await startTokenServer({ folder, service: 'the private registry', users }));
  const registry = starting.use(await startDockerRegistry(join(folder, 'private'), { kind: 'token', server: tokens }));
  const endpoints = { [NAMED]: named.origin, [HUB]: hub.origin, [PRIVATE]: registry.proxy.endpoint };
  const auth = Buffer.from(`${login.user}:${login.password}`).toString('base64');
  const resources = starting.move();
  return {
    named,
    hub,
    private: registry,
    tokens,
    login,
    served: Object.entries(endpoints).map(([name, endpoint]) => ({ name, endpoint: new URL(endpoint) })),
    configuration: {
      registries: {
        [NAMED]: { endpoint: named.origin },
        [HUB]: { endpoint: hub.origin },
        [PRIVATE]: { endpoint: registry.proxy.endpoint, credentials: 'docker' },
      },
      freshness: [{ repositories: ['**'], tags: [MOVING], ttlSeconds: 0 }],
      docker: { auths: { [PRIVATE]: { auth } } },
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** How often each path below /v2/ was asked for, by GET. */
export function getsOf(upstream: TestUpstream): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { method, path } of upstream.requests) {
    if (method === 'GET' && path !== '/v2/') counts.set(path, (counts.get(path) ?? 0) + 1);
  }
  return counts;
}
