import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatPasswordHash, hashPassword } from '../../../../lib/access/password-hash.ts';
import { startFaultProxy, type FaultProxy, type LoggedRequest } from '../../../support/http-fault-proxy.ts';
import { startStack } from '../../../support/stack.ts';
import { startServer } from '../../server-process.ts';
import { basicOf, type Login } from './registry-client.ts';

const COMMAND = fileURLToPath(new URL('../../../../lib/cli/entrepot.js', import.meta.url));

/** The sections of the configuration that tests set. */
export interface ServedConfiguration {
  readonly registries: Readonly<Record<string, object>>;
  readonly freshness?: readonly object[];
  /** Permits of the waiting room. */
  readonly waiting?: number;
  /** Docker's `config.json`, for registries with `credentials: docker`. */
  readonly docker?: object;
  /** Who has a password of their own; then the URLs of blobs lead to the embedded S3 itself. Without it nobody is asked. */
  readonly users?: readonly Login[];
}

/** What a client is given as the cache: a proxy in front of it, which logs what the client sends. */
export interface Door extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly proxy: FaultProxy;
  /** Lets in only who brings the login, by a Basic challenge. Rules that are added first still come first. */
  guard(login: Login): void;
  /** Every request for the blob, in order. */
  requestsFor(digest: string): LoggedRequest[];
}

/** `entrepot serve` in a process of its own, with an empty cache. */
export interface ServedCache extends AsyncDisposable {
  /** Where the URLs of blobs lead: in front of the embedded S3, and for clients alone. */
  readonly s3: FaultProxy;
  /** Opens another door to the same cache; the cache closes it. */
  openDoor(): Promise<Door>;
  /** What `entrepot serve` has printed. */
  log(): string;
}

export async function startServedCache({
  registries,
  freshness = [],
  waiting,
  docker = {},
  users,
}: ServedConfiguration): Promise<ServedCache> {
  await using starting = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-served-'));
  starting.defer(() => rmSync(folder, { recursive: true, force: true }));
  const stack = starting.use(await startStack());
  const s3 = starting.use(await startFaultProxy(stack.s3Endpoint));

  const configFile = join(folder, 'entrepot.yaml');
  const serve = { ...(users === undefined ? { blobEndpoint: s3.endpoint } : {}), freshness, waiting };
  const usersFile = join(folder, 'users.json');
  if (users !== undefined) writeFileSync(usersFile, await usersDocument(users), { mode: 0o600 });
  const auth = users === undefined ? {} : { auth: { users: { file: usersFile } } };
  writeFileSync(configFile, JSON.stringify({ registries, serve: { ...serve, ...auth } }));
  const dockerFolder = join(folder, 'docker');
  mkdirSync(dockerFolder);
  writeFileSync(join(dockerFolder, 'config.json'), JSON.stringify(docker));
  const logFile = join(folder, 'serve.log');
  const log = openSync(logFile, 'a');
  const environment = { ...stack.environment, ENTREPOT_CONFIG: configFile, DOCKER_CONFIG: dockerFolder };
  const server = starting.use(
    await startServer((port) => [process.execPath, COMMAND, 'serve', '--port', String(port)], { log, environment }),
  );
  closeSync(log);

  const resources = starting.move();
  return {
    s3,
    openDoor: async () => doorOf(resources.use(await startFaultProxy(`http://127.0.0.1:${server.port}`))),
    log: () => readFileSync(logFile, 'utf8'),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The document of `serve.auth.users`. */
async function usersDocument(users: readonly Login[]): Promise<string> {
  const entries = users.map(async ({ user, password }) => ({
    name: user,
    password: formatPasswordHash(await hashPassword(password)),
  }));
  return JSON.stringify(await Promise.all(entries));
}

/** The cache at the other end of the proxy, as a client sees it. */
export function doorOf(proxy: FaultProxy): Door {
  return {
    host: new URL(proxy.endpoint).host,
    proxy,
    guard(login) {
      const headers = { authorization: new RegExp(`^Basic ${basicOf(login).replaceAll('+', '\\+')}$`) };
      const challenge = { status: 401, headers: { 'www-authenticate': 'Basic realm="entrepot"' } };
      proxy.rules.push(
        { headers, times: Infinity, action: { kind: 'delay', delayMs: 0 } },
        { times: Infinity, action: { kind: 'answer', answer: challenge } },
      );
    },
    requestsFor: (digest) => proxy.log.filter(({ path }) => path.includes(`/blobs/${digest}`)),
    [Symbol.asyncDispose]: () => proxy.close(),
  };
}
