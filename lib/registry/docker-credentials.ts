import { isUtf8 } from 'node:buffer';
import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { ConfigError } from '../errors/cache-error.ts';
import {
  CREDENTIALS_KEPT_MS,
  ownerOf,
  type CredentialReader,
  type Credentials,
  type IssuedCredentials,
} from './credential-reader.ts';
import { clean } from './failure.ts';
import type { RegistrySettings } from './settings.ts';

const CONFIG_BYTES = 1024 * 1024;
const HELPER_OUTPUT_BYTES = 64 * 1024;
const HELPER_TIMEOUT_MS = 15_000;
/** How long to wait for the output of an ended helper: a child of it may hold the pipe open. */
const OUTPUT_GRACE_MS = 200;
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const HUB_KEY = 'https://index.docker.io/v1/';
const BYTE_ORDER_MARK = '\ufeff';
/** The user name that helpers give with an identity token. */
const TOKEN_USER = '<token>';

interface DockerAuth {
  readonly auth?: unknown;
  readonly username?: unknown;
  readonly password?: unknown;
  readonly identitytoken?: unknown;
  readonly registrytoken?: unknown;
}

interface DockerConfig {
  readonly auths: Readonly<Record<string, DockerAuth>>;
  readonly credHelpers: Readonly<Record<string, unknown>>;
  readonly credsStore: unknown;
}

/**
 * Credentials from Docker's `config.json`. If `credHelpers` has an entry for the registry, it alone decides. Otherwise keys of
 * `auths` for a namespace or repository (podman's) come first, then `credsStore`, then other keys of `auths`.
 *
 * https://docs.docker.com/reference/cli/docker/login/#credential-stores
 * https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
 */
export class DockerCredentials implements CredentialReader {
  readonly #path: string;
  readonly #hosts: readonly string[];
  /** Keys for helpers: Docker Hub has a special one, other registries their host. */
  readonly #serverKeys: readonly string[];

  constructor(path: string, settings: Pick<RegistrySettings, 'name' | 'endpoint'>) {
    this.#path = path;
    const isHub = settings.name === 'docker.io';
    this.#hosts = isHub
      ? ['index.docker.io', 'docker.io', 'registry-1.docker.io']
      : [...new Set([settings.name, settings.endpoint.host])];
    this.#serverKeys = isHub ? [HUB_KEY] : this.#hosts;
  }

  async read(signal: AbortSignal): Promise<IssuedCredentials | undefined> {
    const config = await readDockerConfig(this.#path, signal);
    const untilMs = Date.now() + CREDENTIALS_KEPT_MS;
    for (const host of this.#hosts) {
      const [helper] = entriesOf(config.credHelpers, host);
      if (helper === undefined) continue;
      // As in Docker, "" means to read the file and not the store.
      if (helper === '') return this.#fromFile(config, undefined, untilMs);
      const key = this.#serverKeys.includes(host) ? host : HUB_KEY;
      const credentials = await this.#askHelper(helper, key, signal);
      return credentials === undefined ? undefined : { credentials, untilMs };
    }
    const { credsStore } = config;
    const isNone = credsStore === undefined || credsStore === null || credsStore === '';
    return this.#fromFile(config, isNone ? undefined : await this.#askStore(credsStore, signal), untilMs);
  }

  describe(credentials: Credentials): string {
    return `${ownerOf(credentials)} of Docker's configuration ${this.#path}`;
  }

  idOf(credentials: Credentials, namespace?: string): string {
    const user = credentials.kind === 'bearer' ? '' : (credentials.username ?? '');
    return `docker ${credentials.kind} ${user}${namespace === undefined ? '' : ` ${namespace}`}`;
  }

  #fromFile({ auths }: DockerConfig, stored: Credentials | undefined, untilMs: number): IssuedCredentials | undefined {
    const entries = this.#hosts.flatMap((host) => entriesOf(auths, host));
    const credentials = stored ?? entries.map(readAuth).find((one) => one !== undefined);
    const namespaces = new Map<string, Credentials>();
    for (const host of this.#hosts) {
      for (const [key, entry] of Object.entries(auths)) {
        const { host: ofHost, namespace } = parseKey(key);
        const found = ofHost === host && namespace !== undefined ? readAuth(entry) : undefined;
        if (namespace !== undefined && found !== undefined && !namespaces.has(namespace))
          namespaces.set(namespace, found);
      }
    }
    if (credentials === undefined && namespaces.size === 0) return undefined;
    return { credentials, namespaces, untilMs };
  }

  async #askStore(store: unknown, signal: AbortSignal): Promise<Credentials | undefined> {
    for (const key of this.#serverKeys) {
      const found = await this.#askHelper(store, key, signal);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async #askHelper(helper: unknown, serverKey: string, signal: AbortSignal): Promise<Credentials | undefined> {
    const answer = await askHelper(helper, serverKey, signal);
    if (answer === undefined) return undefined;
    return answer.username === TOKEN_USER
      ? { kind: 'identity', identityToken: answer.secret }
      : { kind: 'basic', username: answer.username, password: answer.secret };
  }
}

/** The credentials of an entry of `auths`; undefined if it is empty, because a store has them. A registry token wins, then an identity token. */
function readAuth(entry: DockerAuth): Credentials | undefined {
  if (typeof entry.registrytoken === 'string' && entry.registrytoken !== '') {
    // Checked, because it is sent in a header.
    if (/^[\x21-\x7e]+$/.test(entry.registrytoken)) return { kind: 'bearer', token: entry.registrytoken };
    throw new ConfigError(
      `Docker's configuration has a "registrytoken" with characters that a header cannot carry; log in again`,
    );
  }
  const bytes = Buffer.from(typeof entry.auth === 'string' ? entry.auth : '', 'base64');
  // Docker stores bytes, not text, and sends them unchanged.
  const asBytes = !isUtf8(bytes);
  // Old versions of Docker padded with zero bytes.
  const decoded = bytes.toString(asBytes ? 'latin1' : 'utf8').replace(/\0+$/, '');
  const colon = decoded.indexOf(':');
  const username = colon > 0 ? decoded.slice(0, colon) : entry.username;
  const password = colon > 0 ? decoded.slice(colon + 1) : entry.password;
  if (typeof entry.identitytoken === 'string' && entry.identitytoken !== '') {
    const known = typeof username === 'string' && username !== '' ? { username } : {};
    return { kind: 'identity', ...known, identityToken: entry.identitytoken };
  }
  if (typeof username !== 'string' || typeof password !== 'string' || username === '') return undefined;
  return { kind: 'basic', username, password, ...(asBytes && colon > 0 ? { asBytes } : {}) };
}

/**
 * What a key of `auths` names. Docker's old keys are URLs: only their host counts. A key without a scheme may have a path, as
 * in podman, which names a namespace or repository; `/v1` and `/v2` are the API and not a namespace.
 */
function parseKey(key: string): { readonly host: string; readonly namespace?: string } {
  const rest = key.replace(/^https?:\/\//i, '');
  const slash = rest.indexOf('/');
  const host = (slash < 0 ? rest : rest.slice(0, slash)).toLowerCase();
  const path = slash < 0 || rest !== key ? '' : rest.slice(slash + 1).replace(/\/+$/, '');
  return path === '' || /^v[12]$/.test(path) ? { host } : { host, namespace: path };
}

/** The entries for a whole host: first the one with exactly this key, then other keys of that host. */
function entriesOf<T>(entries: Readonly<Record<string, T>>, host: string): readonly T[] {
  const found = Object.entries(entries).filter(([key]) => {
    const parsed = parseKey(key);
    return parsed.host === host && parsed.namespace === undefined;
  });
  const isExact = (key: string): boolean => key === host || key === HUB_KEY;
  return [...found.filter(([key]) => isExact(key)), ...found.filter(([key]) => !isExact(key))].map(([, one]) => one);
}

async function readDockerConfig(path: string, signal: AbortSignal): Promise<DockerConfig> {
  let parsed: unknown;
  try {
    const text = await readConfigText(path);
    signal.throwIfAborted();
    if (text?.startsWith(BYTE_ORDER_MARK) === true) {
      throw new Error('it begins with a byte order mark, which Docker refuses as well; save it without one');
    }
    // Docker accepts an empty file.
    parsed = text === undefined || text.trim() === '' ? {} : JSON.parse(text);
    if (typeof parsed !== 'object' || Array.isArray(parsed)) throw new SyntaxError('not an object');
  } catch (error) {
    signal.throwIfAborted();
    // The parser's message quotes the text, which holds passwords: it must not reach a message or cause.
    const why = error instanceof SyntaxError ? 'not a JSON object' : clean(error instanceof Error ? error.message : '');
    throw new ConfigError(`Docker's configuration ${path} cannot be read: ${why}`);
  }
  const { auths, credHelpers, credsStore } = recordOf(parsed);
  const entries = Object.entries(recordOf(auths)).map(([key, value]) => [key, recordOf(value)] as const);
  return { auths: Object.fromEntries(entries), credHelpers: recordOf(credHelpers), credsStore };
}

const recordOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};

/** Undefined if there is no such file. */
async function readConfigText(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    if (size > CONFIG_BYTES) throw new Error(`it has ${size} bytes, more than ${CONFIG_BYTES}`);
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** https://github.com/docker/docker-credential-helpers#development: the server's key on stdin, JSON on stdout. */
async function askHelper(
  helper: unknown,
  serverKey: string,
  signal: AbortSignal,
): Promise<{ username: string; secret: string } | undefined> {
  if (typeof helper !== 'string' || !HELPER_NAME.test(helper)) {
    const found = typeof helper === 'string' ? JSON.stringify(clean(helper)) : 'as something that is not a string';
    throw new ConfigError(
      `Docker's configuration names the credential helper ${found}: letters, digits, ".", "_" and "-" only`,
    );
  }
  const program = `docker-credential-${helper}`;
  const { exitCode, stdout } = await runBounded(program, ['get'], serverKey, signal);
  if (exitCode !== 0) {
    // Helpers report errors on stdout; this text is part of their protocol.
    if (/credentials not found/i.test(stdout)) return undefined;
    throw new ConfigError(`${program} failed for ${serverKey}: ${helperWords(stdout) || `exit code ${exitCode}`}`);
  }
  let answer: { Username?: unknown; Secret?: unknown };
  try {
    answer = (JSON.parse(stdout) ?? {}) as typeof answer;
  } catch {
    throw new ConfigError(`${program} did not answer with JSON for ${serverKey}`);
  }
  const { Username: username, Secret: secret } = answer;
  // As in Docker, an empty answer means no credentials.
  if (typeof username !== 'string' || typeof secret !== 'string' || username === '' || secret === '') return undefined;
  return { username, secret };
}

/** The first line of a failed helper's output, unless it may be an answer with the secret. */
function helperWords(stdout: string): string {
  if (isJson(stdout) || /Secret|"secret"/.test(stdout)) return '';
  const [first = ''] = stdout.trim().split(/[\r\n]/, 1);
  // It may also be part of an answer.
  return /^["{[]/.test(first) || isJson(first) ? '' : clean(first);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

interface Ended {
  readonly exitCode: number | string;
  readonly stdout: string;
}

/** Runs the program. It is killed by `signal` or after {@link HELPER_TIMEOUT_MS}, and not waited for then. */
async function runBounded(
  program: string,
  args: readonly string[],
  input: string,
  signal: AbortSignal,
): Promise<Ended> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(HELPER_TIMEOUT_MS)]);
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'], signal: bounded, killSignal: 'SIGKILL' });
  // A helper that does not read its input breaks the pipe. Its exit code decides.
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${input}\n`);
  const output: Buffer[] = [];
  let bytes = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength;
    if (bytes > HELPER_OUTPUT_BYTES) child.kill('SIGKILL');
    else output.push(chunk);
  });
  let grace: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Ended>((resolve, reject) => {
      const end = (code: number | null, killedBy: string | null): void =>
        resolve({ exitCode: code ?? killedBy ?? 'none', stdout: Buffer.concat(output).toString('utf8') });
      // Also emitted when `bounded` aborts.
      child.on('error', reject);
      child.once('close', end);
      child.once('exit', (code, killedBy) => {
        grace = setTimeout(end, OUTPUT_GRACE_MS, code, killedBy);
      });
    });
  } catch (error) {
    signal.throwIfAborted();
    const why = bounded.aborted ? `no answer within ${HELPER_TIMEOUT_MS} ms` : clean((error as Error).message);
    throw new ConfigError(`the credential helper ${program} cannot be used: ${why}`, error);
  } finally {
    clearTimeout(grace);
    child.stdout.destroy();
    child.stdin.destroy();
  }
}
