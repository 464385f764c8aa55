import { lstatSync } from 'node:fs';
import { resolve } from 'node:path';
import type { AccessSettings } from '../access/access.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import type { RegistrySettings, UpstreamLimits } from '../registry/settings.ts';
import { accessSettingsOf, namesOf } from './access.ts';
import { checkElsewhere } from './aws-rules.ts';
import { DEFAULT_CONFIG_FILES, LIMITS, type LimitName } from './defaults.ts';
import type { WarmupSettings } from '../warmup/warmup-settings.ts';
import { eventsOf } from './events.ts';
import { readConfigFile, type WantedFile } from './file.ts';
import { dockerConfigPathOf, type StoreLocation, storeOf } from './environment.ts';
import { problems, type Problems } from './problems.ts';
import { registriesOf, sectionsOf } from './registries.ts';
import { serveOf } from './serve.ts';
import type { ServeSettings } from '../serve/settings.ts';
import { limitsSchema } from './schema.ts';
import { issuesOf } from './schema-parts.ts';
import { warmupsOf } from './warmups.ts';

/** The limits of the cache, in the units of the code. */
export interface Limits {
  readonly pull: PullLimits;
  readonly upstream: UpstreamLimits;
  /** Of multipart uploads. */
  readonly partBytes: number;
  readonly windowParts: number;
  readonly leaseMs: number;
}

/** The section `events`: events that start pulls. */
export interface EventSettings {
  /** Globs over repositories of ECR in this account and region whose pushes are pulled. Empty: none. */
  readonly ecrPushes: readonly string[];
  /** AWS accounts that may put `{reference}` events on the bus, beside our own. */
  readonly senders: readonly string[];
}

export interface Config {
  /** The YAML file; undefined if there is none. */
  readonly file: string | undefined;
  /** By canonical name. No other registry is reachable (I8). */
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly limits: Limits;
  /** Who may use what over the control API. */
  readonly access: AccessSettings;
  readonly warmups: readonly WarmupSettings[];
  readonly events: EventSettings;
  /** The section `serve`: how container runtimes are served. */
  readonly serve: ServeSettings;
  readonly store: StoreLocation;
  /** Path of Docker's `config.json`, which may not exist. Undefined if the environment names no home. */
  readonly dockerConfigPath: string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The configuration, complete, checked and frozen: the environment, and the YAML file that `ENTREPOT_CONFIG` names (`entrepot.yaml` or
 * `entrepot.yml` in `cwd` without it; then it may be missing).
 *
 * Reads files once, at start.
 *
 * @param options.target `aws`: checked for packaging, like on Lambda, and without loopback addresses.
 * @throws ConfigError that lists every problem of environment and file at once.
 */
export function loadConfig(
  environment: Environment = process.env,
  cwd: string = process.cwd(),
  { target }: { readonly target?: 'aws' } = {},
): Config {
  /** An empty variable counts as unset. */
  const variable = (name: string): string | undefined => (environment[name] === '' ? undefined : environment[name]);
  const found = problems();
  const onLambda = variable('AWS_LAMBDA_FUNCTION_NAME') !== undefined;

  const named = variable('ENTREPOT_CONFIG');
  const file = readConfigFile(fileIn(cwd, named, found), found);
  const registries = registriesOf(file, onLambda || target === 'aws', found);
  const names = namesOf(Object.keys(sectionsOf(file)));
  const limits = limitsOf(file.limits, found);
  const access = accessSettingsOf(file.access, names, found);
  const warmups = warmupsOf(file.warmups, { checked: registries, named: names }, found);
  const events = eventsOf(file.events, names, found);
  const serve = serveOf(file.serve, { folder: file.folder, onAws: onLambda || target === 'aws' }, found);
  const store = storeOf(variable, cwd, onLambda, found);
  if (target === 'aws') checkElsewhere(registries.values(), serve, found);
  found.throwIfAny(file.path);

  return Object.freeze({
    file: file.path,
    registries,
    limits,
    access: frozen(access),
    warmups: frozen(warmups),
    events: frozen(events),
    serve: Object.freeze(serve),
    store: Object.freeze(store),
    dockerConfigPath: dockerConfigPathOf(variable, cwd),
  });
}

/** The file to read. Two files with default names are a problem: the user might edit the one that is not read. */
function fileIn(cwd: string, named: string | undefined, found: Problems): WantedFile {
  if (named !== undefined) return { path: resolve(cwd, named), problemsOf: 'ENTREPOT_CONFIG', isThere: true };
  const paths = DEFAULT_CONFIG_FILES.map((name) => resolve(cwd, name));
  // lstat, so that a broken link is reported and not ignored.
  const there = paths.filter((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  if (there.length > 1)
    found.add('the folder', `has ${there.join(' and ')}; keep one of them, or name it with ENTREPOT_CONFIG`);
  const path = there[0] ?? resolve(cwd, DEFAULT_CONFIG_FILES[0]);
  return { path, problemsOf: path, isThere: there.length > 0 };
}

function limitsOf(section: unknown, found: Problems): Limits {
  const outcome = limitsSchema.safeParse(section ?? {});
  if (!outcome.success) {
    for (const { path, message } of issuesOf(outcome.error, Object.keys(LIMITS))) {
      found.add(['limits', ...path], message);
    }
  }
  const value = (name: LimitName): number => outcome.data?.[name] ?? LIMITS[name].default;
  return Object.freeze({
    pull: Object.freeze({
      manifestBytes: value('manifestBytes'),
      depth: value('depth'),
      fanOut: value('fanOut'),
      totalBytes: value('totalBytes'),
      parallelBlobs: value('parallelBlobs'),
    }),
    upstream: Object.freeze({
      manifestBytes: value('manifestBytes'),
      redirects: value('redirects'),
      attempts: value('attempts'),
      retryAfterMaxMs: value('retryAfterMaxSeconds') * 1000,
      connectTimeoutMs: value('connectTimeoutSeconds') * 1000,
      headersTimeoutMs: value('headersTimeoutSeconds') * 1000,
      bodyTimeoutMs: value('bodyTimeoutSeconds') * 1000,
      stalls: value('stalls'),
    }),
    partBytes: value('partBytes'),
    windowParts: value('windowParts'),
    leaseMs: value('leaseSeconds') * 1000,
  });
}

/** Freezes maps, lists and values at every level. */
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}
