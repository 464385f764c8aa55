import { execFile } from 'node:child_process';
import { accessSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment } from '../../../infra/local/processes.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { install, INTEROP_FOLDER, oneAtATime } from '../install.ts';
import { startServer } from '../server-process.ts';

/** Pinned: the last one whose modules Go's proxy has. */
const VERSION = 'v1.26.0';
/** `go install` refuses a module that replaces others. Its templates are read from its sources while it runs. */
const BUILD = `[ -x "$1/gitea" ] || {
  mkdir -p "$1" && cd "$1" &&
  from="$(go mod download -json "code.gitea.io/gitea@$2" | sed -n 's/.*"Dir": "\\(.*\\)",/\\1/p')" && [ -n "$from" ] &&
  rm -rf source && cp -R "$from" source && chmod -R u+w source && cd source &&
  go build -buildvcs=false -tags 'sqlite sqlite_unlock_notify' -o ../incoming . && mv ../incoming ../gitea
}`;
const BUILD_TIMEOUT_MS = 20 * 60_000;
const COMMAND_TIMEOUT_MS = 60_000;

/** gitea, whose container registry wants a token of everyone, also of those who have no login. */
export interface Gitea extends AsyncDisposable {
  readonly origin: string;
  readonly proxy: FaultProxy;
  /** Of the only user. */
  readonly login: { readonly user: string; readonly password: string };
  /** What the user may let others have in the place of the password: it may read packages and nothing else. */
  readonly accessToken: string;
  /** An organisation whose packages only its members may read. */
  readonly closed: string;
}

/** gitea on loopback, with its state in `folder`, built by Go where it is not there yet. */
export async function startGitea(folder: string): Promise<Gitea> {
  await install('git');
  const { program, source } = await build();
  mkdirSync(folder, { recursive: true });
  const configFile = join(folder, 'app.ini');
  const options = ['--work-path', folder, '--config', configFile];
  const gitea = (...args: string[]): Promise<unknown> =>
    promisify(execFile)(program, [...options, ...args], { env: childEnvironment(), timeout: COMMAND_TIMEOUT_MS });
  const login = { user: 'harbour', password: 'a-Password-1' };
  writeFileSync(configFile, configOf(folder, source, 0));
  await gitea('migrate');
  const { user, password } = login;
  const account = ['--username', user, '--password', password, '--email', 'harbour@example.test'];
  await gitea('admin', 'user', 'create', ...account, '--must-change-password=false');

  await using starting = new AsyncDisposableStack();
  const server = await startServer((port) => {
    writeFileSync(configFile, configOf(folder, source, port));
    return [program, ...options, 'web'];
  });
  starting.use(server);
  const origin = `http://127.0.0.1:${server.port}`;
  const closed = 'closed';
  await post(`${origin}/api/v1/orgs`, login, { username: closed, visibility: 'private' });
  const tokens = `${origin}/api/v1/users/${user}/tokens`;
  const { sha1 } = await post(tokens, login, { name: 'pull', scopes: ['read:package'] });
  if (typeof sha1 !== 'string') throw new Error('gitea gave no access token');
  const proxy = starting.use(await startFaultProxy(origin));
  const resources = starting.move();
  return { origin, proxy, login, accessToken: sha1, closed, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** Its realm is where it is asked: `auto` believes the Host header. */
const configOf = (folder: string, source: string, port: number): string => `
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
APP_DATA_PATH = ${join(folder, 'data')}
RUN_MODE = prod
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = ${port}
ROOT_URL = http://127.0.0.1:${port}/
PUBLIC_URL_DETECTION = auto
STATIC_ROOT_PATH = ${source}
OFFLINE_MODE = true
DISABLE_SSH = true
[database]
DB_TYPE = sqlite3
PATH = ${join(folder, 'gitea.db')}
[security]
INSTALL_LOCK = true
`;

async function build(): Promise<{ program: string; source: string }> {
  const folder = join(INTEROP_FOLDER, `gitea-${VERSION}`);
  const built = { program: join(folder, 'gitea'), source: join(folder, 'source') };
  try {
    accessSync(built.program);
  } catch {
    await oneAtATime(BUILD, [folder, VERSION], BUILD_TIMEOUT_MS); // Not there yet.
  }
  return built;
}

/** The header for the login. */
export const basic = ({ user, password }: { user: string; password: string }): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

async function post(
  url: string,
  login: { user: string; password: string },
  body: object,
): Promise<Record<string, unknown>> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: basic(login) },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(COMMAND_TIMEOUT_MS),
  });
  if (answer.status !== 201) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}
