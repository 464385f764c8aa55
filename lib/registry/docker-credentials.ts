import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { ConfigError } from '../errors/cache-error.ts';
import { CREDENTIALS_KEPT_MS, type CredentialReader, type Credentials, type IssuedCredentials } from './credentials.ts';
import { clean } from './failure.ts';
import type { RegistrySettings } from './settings.ts';

const CONFIG_BYTES = 1024 * 1024;
const HELPER_OUTPUT_BYTES = 64 * 1024;
const HELPER_TIMEOUT_MS = 15_000;
/** Between the end of a helper and that of its output, which a child of its may hold open for good. */
const OUTPUT_GRACE_MS = 200;
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const HUB_KEY = 'https://index.docker.io/v1/';
/** What helpers say where a user name belongs, if the secret is an identity token. */
const TOKEN_USER = '<token>';

interface DockerAuth {
  readonly auth?: unknown;
  readonly username?: unknown;
  readonly password?: unknown;
  readonly identitytoken?: unknown;
}

interface DockerConfig {
  readonly auths: Readonly<Record<string, DockerAuth>>;
  readonly credHelpers: Readonly<Record<string, unknown>>;
  readonly credsStore: unknown;
}

/**
 * Credentials from Docker's `config.json`: the registry's entry of `credHelpers` first, then `credsStore`, then `auths`.
 * https://docs.docker.com/reference/cli/docker/login/#credential-stores
 */
export class DockerCredentials implements CredentialReader {
  readonly #path: string;
  readonly #hosts: readonly string[];
  readonly #serverKey: string;

  constructor(path: string, settings: Pick<RegistrySettings, 'name' | 'endpoint'>) {
    this.#path = path;
    const isHub = settings.name === 'docker.io';
    this.#hosts = isHub
      ? ['index.docker.io', 'docker.io', 'registry-1.docker.io']
      : [...new Set([settings.name, settings.endpoint.host])];
    this.#serverKey = isHub ? HUB_KEY : settings.name;
  }

  async read(signal: AbortSignal): Promise<IssuedCredentials | undefined> {
    const config = await readDockerConfig(this.#path, signal);
    const helper =
      entryOf(config.credHelpers, this.#hosts) ?? (config.credsStore === '' ? undefined : config.credsStore);
    const credentials =
      (helper === undefined ? undefined : await this.#askHelper(helper, signal)) ??
      this.#fromAuth(entryOf(config.auths, this.#hosts));
    return credentials === undefined ? undefined : { credentials, untilMs: Date.now() + CREDENTIALS_KEPT_MS };
  }

  idOf(credentials: Credentials): string {
    return `docker ${credentials.kind} ${credentials.username ?? ''}`;
  }

  async #askHelper(helper: unknown, signal: AbortSignal): Promise<Credentials | undefined> {
    const answer = await askHelper(helper, this.#serverKey, signal);
    if (answer === undefined) return undefined;
    return answer.username === TOKEN_USER
      ? { kind: 'identity', identityToken: answer.secret }
      : { kind: 'basic', username: answer.username, password: answer.secret };
  }

  #fromAuth(entry: DockerAuth | undefined): Credentials | undefined {
    if (entry === undefined) return undefined;
    // Old versions of Docker padded with zero bytes.
    const decoded =
      typeof entry.auth === 'string' ? Buffer.from(entry.auth, 'base64').toString('utf8').replace(/\0+$/, '') : '';
    const colon = decoded.indexOf(':');
    const username = colon > 0 ? decoded.slice(0, colon) : entry.username;
    const password = colon > 0 ? decoded.slice(colon + 1) : entry.password;
    if (typeof entry.identitytoken === 'string' && entry.identitytoken !== '') {
      const known = typeof username === 'string' && username !== '' ? { username } : {};
      return { kind: 'identity', ...known, identityToken: entry.identitytoken };
    }
    if (typeof username !== 'string' || typeof password !== 'string' || username === '') return undefined;
    return { kind: 'basic', username, password };
  }
}

/** Keys are hosts, or URLs with nothing but the API version behind the host. */
function entryOf<T>(entries: Readonly<Record<string, T>>, hosts: readonly string[]): T | undefined {
  const hostOfKey = (key: string): string =>
    key
      .replace(/^https?:\/\//i, '')
      .replace(/(?:\/v[12])?\/?$/, '')
      .toLowerCase();
  for (const host of hosts) {
    const found = Object.entries(entries).find(([key]) => hostOfKey(key) === host);
    if (found !== undefined) return found[1];
  }
  return undefined;
}

async function readDockerConfig(path: string, signal: AbortSignal): Promise<DockerConfig> {
  let parsed: unknown;
  try {
    const text = await readConfigText(path);
    signal.throwIfAborted();
    parsed = text === undefined ? {} : JSON.parse(text);
  } catch (error) {
    signal.throwIfAborted();
    // The parser's message quotes the text, and the text holds passwords: it goes into no message and no cause.
    const why = error instanceof SyntaxError ? 'it is not JSON' : clean(error instanceof Error ? error.message : '');
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
    const found = typeof helper === 'string' ? JSON.stringify(clean(helper)) : 'as something that is no string';
    throw new ConfigError(
      `Docker's configuration names the credential helper ${found}: letters, digits, ".", "_" and "-" only`,
    );
  }
  const program = `docker-credential-${helper}`;
  const { exitCode, stdout } = await runBounded(program, ['get'], serverKey, signal);
  if (exitCode !== 0) {
    // Helpers write their errors to stdout, this one by agreement.
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
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
  return { username, secret };
}

/** The first line of what a failed helper says, unless it may be an answer: that holds the secret. */
function helperWords(stdout: string): string {
  if (isJson(stdout) || /Secret|"secret"/.test(stdout)) return '';
  const [first = ''] = stdout.trim().split(/[\r\n]/, 1);
  // Half of an answer is one, too.
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

/** Runs to its end or to the first of signal and time limit; then it is killed, and nobody waits for it. */
async function runBounded(
  program: string,
  args: readonly string[],
  input: string,
  signal: AbortSignal,
): Promise<Ended> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(HELPER_TIMEOUT_MS)]);
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'], signal: bounded, killSignal: 'SIGKILL' });
  // A helper that does not read its input breaks the pipe; its exit code tells the rest.
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
      // Also when `bounded` fires.
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
