import { X509Certificate } from 'node:crypto';
import { resolve } from 'node:path';
import { CacheError } from '../errors/cache-error.ts';
import { parseRegistry, pathPartOf } from '../reference/reference.ts';
import { parseEcrHost, type RegistrySettings } from '../registry/settings.ts';
import { checkForAws, isHub } from './aws-rules.ts';
import { DEFAULT_MAX_CONNECTIONS, defaultCredentials, KNOWN_REGISTRIES, PUBLIC_ORIGINS } from './defaults.ts';
import type { ConfigFile } from './file.ts';
import type { Problems } from './problems.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';
import { mirrorsSchema, registrySchema, type RegistryEntry } from './schema.ts';
import { issuesOf } from './schema-parts.ts';

const MAX_CA_BYTES = 1024 * 1024;
const KNOWN_KEYS = Object.keys(registrySchema.shape);

/** The unchecked registries of the file; without the section, the well-known public ones. */
export const sectionsOf = (file: ConfigFile): Readonly<Record<string, unknown>> =>
  file.registries ?? Object.fromEntries([...KNOWN_REGISTRIES.keys()].map((name) => [name, {}]));

/** The registries of the file by canonical name; without a section of registries, the well-known public ones. */
export function registriesOf(file: ConfigFile, onAws: boolean, found: Problems): ReadonlyMap<string, RegistrySettings> {
  const entries = Object.entries(sectionsOf(file));
  if (entries.length === 0) {
    found.add(['registries'], 'names no registry; name one, or leave the key out for the well-known public registries');
  }
  const mirrorsOf = sharedMirrors(
    file.mirrors,
    entries.map(([key]) => key),
    found,
  );
  const registries = new Map<string, RegistrySettings>();
  const names = new Set<string>();
  /** The registry of each alias: an alias must be unique. */
  const aliases = new Map<string, string>();
  for (const [key, section] of entries) {
    const name = canonicalName(key, found);
    const entry = checkedEntry(key, section, found);
    const kind = defaultCredentials(name ?? key, onAws).kind;
    if (onAws) checkForAws({ key, name: name ?? key, section, defaultCredentials: kind }, found);
    if (entry?.anonymous !== undefined && name !== 'docker.io' && !isHub(key, entry.endpoint?.href)) {
      found.add(['registries', key, 'anonymous'], 'is for Docker Hub only; leave it out');
    }
    if (entry?.alias !== undefined) {
      const taken = aliases.get(entry.alias);
      if (taken !== undefined)
        found.add(['registries', key, 'alias'], `is the alias of ${taken} already; choose another`);
      aliases.set(entry.alias, key);
    }
    // Read even if the rest of the entry is wrong, so that all problems are listed at once.
    const caPath = registrySchema.shape.ca.safeParse((section as { ca?: unknown } | null)?.ca).data;
    const ca = caPath === undefined ? undefined : readCa(key, resolve(file.folder, caPath), found);
    if (name === undefined) continue;
    if (names.has(name)) found.add(['registries', key], `is ${name}, which the file has already; merge both entries`);
    names.add(name);
    if (entry === undefined) continue;
    const mirrors = [...(entry.mirrors ?? []), ...mirrorsOf(name)];
    const settings = settingsOf(name, { ...entry, mirrors }, ca, onAws);
    if (settings.credentials.kind === 'ecr' && !isEcr(settings)) {
      found.add(
        ['registries', key, 'credentials'],
        'is ecr, but neither name nor endpoint is <account>.dkr.ecr.<region>.amazonaws.com',
      );
    }
    registries.set(name, settings);
  }
  const taken = new Set([...names.keys()].flatMap((name) => [name, pathPartOf(name)]));
  for (const [alias, key] of aliases) {
    if (taken.has(alias)) found.add(['registries', key, 'alias'], 'is the name of a registry here; choose another');
  }
  const origins = new Set(PUBLIC_ORIGINS);
  for (const { endpoint, isPublic } of registries.values()) if (isPublic) origins.add(endpoint.origin);
  return new Map([...registries].map(([name, settings]) => [name, withMirrors(settings, origins)]));
}

/** A registry counts as public only if its mirrors are public, too: another mirror may hold content that not everyone may read (I9). */
function withMirrors(settings: RegistrySettings, publicOrigins: ReadonlySet<string>): RegistrySettings {
  const isPublic = settings.isPublic && settings.mirrors.every(({ origin }) => publicOrigins.has(origin));
  return isPublic === settings.isPublic ? settings : Object.freeze({ ...settings, isPublic });
}

/** The shared mirrors of a registry, by its canonical name. */
function sharedMirrors(section: unknown, keys: readonly string[], found: Problems): (name: string) => readonly URL[] {
  const outcome = mirrorsSchema.safeParse(section ?? []);
  if (!outcome.success) {
    for (const { path, message } of issuesOf(outcome.error, ['endpoint', 'registries']))
      found.add(['mirrors', ...path], message);
    return () => [];
  }
  const known = new Set(keys.map(nameOrKey));
  const mirrors = outcome.data.map(({ endpoint, registries }, i) => {
    const names = registries?.map(nameOrKey);
    names?.forEach((name, at) => {
      if (!known.has(name))
        found.add(
          ['mirrors', i, 'registries', at],
          `${name} is not among the registries of the configuration; add it there, or leave it out here`,
        );
    });
    return { endpoint, names };
  });
  return (name) => mirrors.filter(({ names }) => names?.includes(name) ?? true).map(({ endpoint }) => endpoint);
}

/** The canonical name; an invalid key unchanged, which is reported elsewhere. */
function nameOrKey(key: string): string {
  try {
    return parseRegistry(key);
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return key;
  }
}

function canonicalName(key: string, found: Problems): string | undefined {
  try {
    const name = parseRegistry(key);
    if (/[.:[]/.test(name) || name === 'localhost') return name;
    found.add(['registries', key], 'cannot be named by a reference; write a host name with a "." or a ":port"');
    return undefined;
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    found.add(['registries', key], error.message);
    return undefined;
  }
}

/** An empty entry (`ghcr.io:`) has all defaults. */
function checkedEntry(key: string, section: unknown, found: Problems): RegistryEntry | undefined {
  const outcome = registrySchema.safeParse(section ?? {});
  if (outcome.success) return outcome.data;
  for (const { path, message } of issuesOf(outcome.error, KNOWN_KEYS)) found.add(['registries', key, ...path], message);
  return undefined;
}

const PRIVATE_KEY = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/;
const CERTIFICATE = /-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----[^-]*-----END \1CERTIFICATE-----/g;

/** Only the certificates of the file: the result is packaged into every function. */
function readCa(key: string, path: string, found: Problems): string | undefined {
  const where = ['registries', key, 'ca'];
  try {
    const text = readTextFile(path, MAX_CA_BYTES);
    if (PRIVATE_KEY.test(text)) {
      found.add(where, `${path}: holds a private key; take it out: only the certificates of CAs belong here`);
      return undefined;
    }
    const blocks = text.match(CERTIFICATE) ?? [];
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block).toString()).join('');
    found.add(where, `${path}: holds no certificate in PEM form`);
  } catch (error) {
    const why = error instanceof UnreadableFileError ? error.message : 'holds a certificate that cannot be read';
    found.add(where, `${path}: ${why}`);
  }
  return undefined;
}

const isEcr = ({ name, endpoint }: RegistrySettings): boolean =>
  (parseEcrHost(name) ?? parseEcrHost(endpoint.hostname)) !== undefined;

function settingsOf(name: string, entry: RegistryEntry, ca: string | undefined, onAws: boolean): RegistrySettings {
  const credentials = entry.credentials ?? defaultCredentials(name, onAws);
  const known = KNOWN_REGISTRIES.get(name);
  const endpoint = entry.endpoint ?? new URL(known ?? `https://${name}`);
  return Object.freeze({
    name,
    endpoint,
    endpointMayBePrivate: entry.endpoint !== undefined || credentials.kind === 'ecr',
    mirrors: Object.freeze(entry.mirrors ?? []),
    isPublic: entry.public ?? (known !== undefined && endpoint.href === new URL(known).href),
    credentials: Object.freeze(credentials),
    realms: Object.freeze(entry.realms ?? []),
    redirects: Object.freeze(entry.redirects ?? []),
    passRedirects: Object.freeze(entry.passRedirects ?? []),
    allow: Object.freeze(entry.allow ?? []),
    platforms: Object.freeze(entry.platforms ?? []),
    ...(entry.alias === undefined ? {} : { alias: entry.alias }),
    ...(ca === undefined ? {} : { ca }),
    ...(entry.proxy === undefined ? {} : { proxy: entry.proxy }),
    maxConnections: entry.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
  });
}
