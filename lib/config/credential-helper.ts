import { resolve } from 'node:path';
import { ConfigError } from '../errors/cache-error.ts';
import type { Environment } from './config.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';

/** The settings of a credential helper: which API issues the passwords, and which registries get them. */
export interface HelperSettings {
  /** Of the control API, without `/v1` and a final slash. No request goes anywhere else. */
  readonly url: URL;
  /** Hosts of the registry endpoint, with their ports. Other hosts get no password. */
  readonly registries: ReadonlySet<string>;
  /** Undefined: from the URL, else from the AWS SDK. */
  readonly region: string | undefined;
  readonly lifetimeSeconds: number;
}

const MAX_FILE_BYTES = 64 * 1024;
const KEYS = ['url', 'registries', 'region', 'lifetimeSeconds'];
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const USUAL_SECONDS = 3_600;

/**
 * The settings of a credential helper: `ENTREPOT_URL` and `ENTREPOT_REGISTRIES` (a list with commas), or the JSON file that `ENTREPOT_HELPER_CONFIG` names
 * (`~/.config/entrepot/helper.json` without it). Variables override the file.
 *
 * @throws ConfigError
 */
export function helperSettings(environment: Environment = process.env, cwd: string = process.cwd()): HelperSettings {
  const variable = (name: string): string | undefined => (environment[name] === '' ? undefined : environment[name]);
  const named = variable('ENTREPOT_HELPER_CONFIG');
  const folder = variable('XDG_CONFIG_HOME') ?? resolve(cwd, variable('HOME') ?? '.', '.config');
  const path = resolve(cwd, named ?? resolve(folder, 'entrepot', 'helper.json'));
  const file = readSettings(path, named !== undefined);
  const url = urlOf(variable('ENTREPOT_URL') ?? file.url, path);
  const listed = variable('ENTREPOT_REGISTRIES')?.split(',') ?? file.registries ?? [url.host];
  const { region, lifetimeSeconds = USUAL_SECONDS } = file;
  if (!isTexts(listed)) throw invalid(path, 'registries', 'a list such as ["registry.example.test"]');
  if (region !== undefined && typeof region !== 'string') throw invalid(path, 'region', 'a region of AWS');
  if (!isLifetime(lifetimeSeconds)) throw invalid(path, 'lifetimeSeconds', 'a whole number from 60 to 3600');
  return { url, registries: new Set(listed.map(hostOf)), region, lifetimeSeconds };
}

/**
 * The host of a registry as clients write it: `https://host/v2/`, `host:5000`, `host/path`. In lower case, with its port unless that is 443.
 *
 * Never throws: a text that is not a host matches no configured registry.
 */
export function hostOf(server: string): string {
  const bare = server
    .trim()
    .replace(/^https?:\/\//, '')
    .replace(/\/.*$/s, '')
    .toLowerCase();
  return bare.replace(/:443$/, '');
}

function readSettings(path: string, mustExist: boolean): Readonly<Record<string, unknown>> {
  let settings: unknown;
  try {
    settings = JSON.parse(readTextFile(path, MAX_FILE_BYTES));
  } catch (error) {
    if (error instanceof UnreadableFileError && error.absent && !mustExist) return {};
    throw new ConfigError(`${path} ${error instanceof UnreadableFileError ? error.message : 'is not JSON'}`);
  }
  const isMap = typeof settings === 'object' && settings !== null && !Array.isArray(settings);
  const unknown = isMap ? Object.keys(settings as object).find((key) => !KEYS.includes(key)) : undefined;
  if (!isMap || unknown !== undefined) {
    throw new ConfigError(`${path} must be a JSON object with ${KEYS.join(', ')} and nothing else`);
  }
  return settings as Readonly<Record<string, unknown>>;
}

function urlOf(value: unknown, path: string): URL {
  const form = 'https://<id>.execute-api.<region>.amazonaws.com';
  if (value === undefined) {
    throw new ConfigError(`ENTREPOT_URL is not set; set it to the control API, ${form}, or write "url" into ${path}`);
  }
  const url = typeof value === 'string' ? URL.parse(value) : null;
  const isPlain = url?.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (url === null || !isPlain || !(url.protocol === 'https:' || isPlainLoopback(url))) {
    throw new ConfigError(`ENTREPOT_URL, or "url" of ${path}, is not an https URL without query; write ${form}`);
  }
  url.pathname = url.pathname.replace(/(?:\/v1)?\/*$/, '');
  return url;
}

/** Whether the URL leads to this machine. */
export const isPlainLoopback = (url: URL): boolean => url.protocol === 'http:' && LOOPBACK.test(url.hostname);

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string' && one !== '');

const isLifetime = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 60 && value <= USUAL_SECONDS;

const invalid = (path: string, key: string, what: string): ConfigError =>
  new ConfigError(`"${key}" of ${path} is invalid; write ${what}`);
