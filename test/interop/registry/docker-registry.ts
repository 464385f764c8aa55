import { mkdirSync, openSync, closeSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hexOf, type Digest } from '../../../lib/oci/digest.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { startServer } from '../server-process.ts';
import type { TokenServer } from '../token-server.ts';

export type RegistryAuth =
  | { readonly kind: 'none' }
  /** The file that `htpasswd -B` writes. */
  | { readonly kind: 'htpasswd'; readonly file: string }
  | { readonly kind: 'token'; readonly server: TokenServer };

export interface DockerRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT` of the registry itself: for pushing. */
  readonly host: string;
  /** In front of it: counts, and delays where a test says so. This is where Entrepot pulls from. */
  readonly proxy: FaultProxy;
  /** What the registry holds under the digest, read from its storage and not through its API. */
  stored(digest: Digest): Buffer;
  /** Ends the registry and the proxy. Idempotent. */
  readonly close: () => Promise<void>;
}

/** Debian's. */
const DISTRIBUTION_2 = { command: 'docker-registry', settings: {} };

/** Debian's `docker-registry` (CNCF distribution 2.8) on loopback, with its storage and its log in `folder`. */
export const startDockerRegistry = (folder: string, auth: RegistryAuth = { kind: 'none' }): Promise<DockerRegistry> =>
  startDistribution(folder, auth, DISTRIBUTION_2);

/** Another build of the same program, with more settings. */
export async function startDistribution(
  folder: string,
  auth: RegistryAuth,
  { command, settings }: { readonly command: string; readonly settings: object },
): Promise<DockerRegistry> {
  mkdirSync(folder, { recursive: true });
  const configFile = join(folder, 'config.yml');
  const storage = join(folder, 'storage');
  const log = openSync(join(folder, 'registry.log'), 'a');
  const server = await startServer(
    (port) => {
      // JSON is YAML.
      const config = {
        version: 0.1,
        log: { level: 'info' },
        storage: { filesystem: { rootdirectory: storage } },
        http: { addr: `127.0.0.1:${port}` },
        ...authConfig(auth),
        ...settings,
      };
      writeFileSync(configFile, JSON.stringify(config));
      return [command, 'serve', configFile];
    },
    // Version 3 looks for a collector of traces unless it has none.
    { log, environment: { OTEL_TRACES_EXPORTER: 'none' } },
  );
  closeSync(log);
  const host = `127.0.0.1:${server.port}`;
  const proxy = await startFaultProxy(`http://${host}`);
  let closing: Promise<unknown> | undefined;
  const close = async (): Promise<void> => {
    await (closing ??= Promise.all([proxy.close(), server.close()]));
  };
  const stored = (digest: Digest): Buffer => {
    const hex = hexOf(digest);
    return readFileSync(join(storage, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data'));
  };
  return { host, proxy, stored, close, [Symbol.asyncDispose]: close };
}

function authConfig(auth: RegistryAuth): object {
  switch (auth.kind) {
    case 'none':
      return {};
    case 'htpasswd':
      return { auth: { htpasswd: { realm: 'entrepot interop', path: auth.file } } };
    case 'token': {
      const { realm, issuer, service, certificateFile } = auth.server;
      return { auth: { token: { realm, issuer, service, rootcertbundle: certificateFile } } };
    }
  }
}
