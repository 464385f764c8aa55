import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment } from '../../../../infra/local/processes.ts';
import { type Client, mirrorConfig } from '../../../../lib/cli/mirror-config/mirror-config.ts';
import { type ServedRegistry } from '../../../../lib/cli/mirror-config/served-cache.ts';
import type { Door } from './served-cache.ts';

/** A cold pull of 300 MB at 10 MB/s takes half a minute. */
const COMMAND_TIMEOUT_MS = 120_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

export interface Login {
  readonly user: string;
  readonly password: string;
}

export interface ClientPull {
  /** Default: linux/amd64. */
  readonly platform?: string;
  /** Of the cache, for references that name it. */
  readonly login?: Login;
  /** Kills the client. */
  readonly signal?: AbortSignal;
}

/** A container client with a store of its own, that asks the cache for every registry it knows. */
export interface RegistryClient extends AsyncDisposable {
  /**
   * What one types to pull the image: the name of the registry itself where the client takes mirrors for it, else the cache's name for it.
   *
   * @param rest `repository:tag` or `repository@digest`
   */
  nameOf(registry: string, rest: string): string;
  /** @throws Error with what the client printed. */
  pull(reference: string, options?: ClientPull): Promise<void>;
  /** The digests by which the client knows what it holds under this reference: of the index, the manifest, the config, or some of them. */
  digests(reference: string): Promise<readonly string[]>;
  /** False: it takes tags alone. */
  readonly pullsDigests?: boolean;
  /** Runs the image, and returns what it printed. Undefined where the client runs nothing. */
  readonly run?: (reference: string) => Promise<string>;
  /** From now on the client signs in to the cache where it is a mirror; with undefined it does not. Undefined where it cannot. */
  readonly signInToMirror?: (login: Login | undefined) => void;
  /** Nothing of what was pulled is left. */
  forget(): Promise<void>;
}

/** Where a client finds the cache, and where its own files go. */
export interface ClientPlace {
  readonly folder: string;
  readonly door: Door;
  readonly registries: readonly ServedRegistry[];
}

/** Runs a command of a client; what it prints on stdout. @throws Error with stderr */
export async function command(
  name: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<string> {
  const options = {
    timeout: COMMAND_TIMEOUT_MS,
    maxBuffer: OUTPUT_BYTES,
    env: { ...childEnvironment(), ...environment },
    ...(signal === undefined ? {} : { signal }),
  };
  const { stdout } = await promisify(execFile)(name, args, options);
  return stdout;
}

/** How long that took, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return Math.round(performance.now() - startedMs);
}

/** The login as the header `Authorization`, without its scheme, and as Docker's and Podman's files have it. */
export const basicOf = ({ user, password }: Login): string => Buffer.from(`${user}:${password}`).toString('base64');

/** The content of Docker's `config.json` and of Podman's `auth.json`, with the login of the cache. */
export const loginFile = ({ host }: Door, login: Login | undefined): string =>
  JSON.stringify(login === undefined ? { auths: {} } : { auths: { [host]: { auth: basicOf(login) } } });

/** What `entrepot mirror-config` writes for the client, in a folder of its own, which is returned. */
export function writeMirrorConfig(client: Client, { folder, door, registries }: ClientPlace): string {
  const target = join(folder, `mirror-config-${client}`);
  const served = { origin: new URL(door.proxy.endpoint), registries, needsLogin: false };
  for (const { path, content } of mirrorConfig(client, served).files) {
    mkdirSync(dirname(join(target, path)), { recursive: true });
    writeFileSync(join(target, path), content);
  }
  return target;
}

/** What the cache calls the image: for every client, without any configuration. */
export const nameAtCache = (door: Door, registry: string, rest: string): string => `${door.host}/${registry}/${rest}`;
