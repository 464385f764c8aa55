import semver from 'semver';
import * as z from 'zod';
import { parsePlatform } from '../oci/platform.ts';
import { formatRepository, parseReference, type Reference, type Repository } from '../reference/reference.ts';
import { allowOf, type RegistrySettings } from '../registry/settings.ts';
import type { TagRule, WarmupEntry, WarmupSettings } from '../warmup/warmup-settings.ts';
import type { Problems } from './problems.ts';
import { checkGlob, expected, issuesOf, kindOf, list, mapOf, parsed, someOf, wholeNumber } from './schema-parts.ts';

/** EventBridge accepts the singular only for 1, and the plural only for other numbers. */
const RATE = /^rate\((?:1 (?:minute|hour|day)|(?!1 )[1-9]\d{0,5} (?:minutes|hours|days))\)$/;
const CRON = /^cron\(([^()]*)\)$/;
const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];

/** One of the six fields of a cron expression: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based */
interface CronField {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  /** Names of `min`, `min + 1`, … */
  readonly words?: readonly string[];
  /** Forms that only this field has. */
  readonly special?: RegExp;
}

const FIELDS: readonly CronField[] = [
  { name: 'minutes', min: 0, max: 59 },
  { name: 'hours', min: 0, max: 23 },
  { name: 'day of month', min: 1, max: 31, special: /^(?:\?|L|LW|(?:[1-9]|[12]\d|3[01])W)$/ },
  { name: 'month', min: 1, max: 12, words: MONTHS },
  {
    name: 'day of week',
    min: 1,
    max: 7,
    words: DAYS,
    special: /^(?:\?|L|[1-7]L|(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5])$/,
  },
  { name: 'year', min: 1970, max: 2199 },
];

/**
 * The schedule, unchanged, if EventBridge Scheduler accepts it: `rate(6 hours)`, `cron(0 3 * * ? *)`.
 *
 * @throws Error that names the wrong part.
 */
export function parseSchedule(value: string): string {
  if (RATE.test(value)) return value;
  const fields = CRON.exec(value)?.[1]?.trim().split(/\s+/);
  if (fields === undefined) {
    throw new Error(`${shown(value)} is not a schedule; write rate(1 hour), rate(6 hours) or cron(0 3 * * ? *)`);
  }
  if (fields.length !== FIELDS.length) {
    throw new Error(
      `${shown(value)} has ${fields.length} fields; a cron expression has 6: minutes, hours, day of month, month, day of week, year, for example cron(0 3 * * ? *)`,
    );
  }
  for (const [index, field] of FIELDS.entries()) checkField(field, fields[index] ?? '');
  const unset = [fields[2], fields[4]].filter((days) => days === '?').length;
  if (unset !== 1) {
    throw new Error(
      `${shown(value)}: exactly one of day of month and day of week must be "?", for example cron(0 3 * * ? *)`,
    );
  }
  return value;
}

function checkField(field: CronField, text: string): void {
  if (
    text
      .toUpperCase()
      .split(',')
      .every((item) => isItem(field, item))
  )
    return;
  throw new Error(
    `${shown(text)} cannot be the ${field.name} of a cron expression; write numbers from ${field.min} to ${field.max}, "*", lists (a,b), ranges (a-b) or steps (a/b)`,
  );
}

/** A number or word, `*`, a range, or one of these with a step. */
function isItem(field: CronField, item: string): boolean {
  if (field.special?.test(item) === true) return true;
  const [, base, from = '', to, step] = /^(\*|(\w+)(?:-(\w+))?)(?:\/(\d{1,4}))?$/.exec(item) ?? [];
  if (base === undefined || step === '0') return false;
  if (base === '*') return true;
  const first = valueOf(field, from);
  return first !== undefined && (to === undefined || (valueOf(field, to) ?? -1) >= first);
}

function valueOf({ min, max, words = [] }: CronField, text: string): number | undefined {
  const word = words.indexOf(text);
  const value = word >= 0 ? min + word : /^\d{1,4}$/.test(text) ? Number(text) : NaN;
  return value >= min && value <= max ? value : undefined;
}

/**
 * The IANA name of a time zone, in its own spelling.
 *
 * @throws Error if there is no such zone.
 */
export function parseTimeZone(value: string): string {
  const unknown = (cause?: unknown): Error =>
    new Error(`${shown(value)} is not a time zone; write an IANA name, for example Europe/Berlin or UTC`, { cause });
  // Intl accepts offsets such as +01:00; the scheduler does not.
  if (!/^[A-Za-z]/.test(value)) throw unknown();
  let canonical: string;
  try {
    canonical = new Intl.DateTimeFormat('en', { timeZone: value }).resolvedOptions().timeZone;
  } catch (cause) {
    throw unknown(cause);
  }
  // Intl may return another name for the same zone: then the user's own is kept.
  return canonical.toLowerCase() === value.toLowerCase() ? canonical : value;
}

const shown = (value: string): string => JSON.stringify(value.slice(0, 100));

const MAX_WARMUPS = 50;
const MAX_NEWEST = 500;
const MAX_PARALLEL = 50;
const DEFAULT_PARALLEL = 4;
const EXAMPLE = 'expected a map of warm-ups, for example {nightly: {schedule: "cron(0 3 * * ? *)", images: […]}}';
const NAME = /^[A-Za-z0-9_-]{1,40}$/;

function parseRepository(value: string): Repository {
  if (value.includes('@') || /:[^/]*$/.test(value)) {
    throw new Error(`${JSON.stringify(value)} names a tag or digest; write the repository alone, or use "reference"`);
  }
  return parseReference(value).repository;
}

function parseRange(value: string): string {
  if (semver.validRange(value, { loose: true }) !== null) return value;
  throw new Error(`${JSON.stringify(value)} is not a range of versions; write for example ">=1.25 <2" or "^3.1"`);
}

const tagRule = mapOf({
  glob: parsed('a glob over tags such as 1.*-alpine', (value) => checkGlob(value, '1.*-alpine')).optional(),
  semver: parsed('a range of versions such as ">=1.25 <2"', parseRange).optional(),
  newest: wholeNumber(1, MAX_NEWEST).optional(),
}).refine((rule) => Object.keys(rule).length > 0, { error: 'is empty; write at least one of glob, semver and newest' });

const entry = mapOf({
  reference: parsed('a reference such as alpine:3.20', parseReference).optional(),
  repository: parsed('a repository such as ghcr.io/org/app', parseRepository).optional(),
  tags: tagRule.optional(),
  platforms: list(
    parsed('a platform such as linux/amd64', (value) => parsePlatform(value)),
    '[linux/amd64]',
  ).default([]),
  attestations: z.boolean(expected('true or false')).default(true),
}).transform((value, context): WarmupEntry => {
  const { reference, repository, tags, platforms, attestations } = value;
  const what = whatOf(reference, repository, tags);
  if (typeof what !== 'string') return { what, platforms, attestations };
  context.addIssue({ code: 'custom', message: what });
  return z.NEVER;
});

function whatOf(
  reference: Reference | undefined,
  repository: Repository | undefined,
  tags: z.output<typeof tagRule> | undefined,
): WarmupEntry['what'] | string {
  if ((reference === undefined) === (repository === undefined)) {
    return 'write either "reference", or "repository" with "tags"';
  }
  if (reference !== undefined) {
    return tags === undefined
      ? { kind: 'reference', reference }
      : 'has "reference" and "tags"; tags go with "repository"';
  }
  if (repository === undefined || tags === undefined) {
    return 'has "repository" without "tags"; write which tags, for example tags: {semver: ">=1.25", newest: 3}';
  }
  const { glob, semver: range, newest } = tags;
  const rule: TagRule = {
    ...(glob === undefined ? {} : { glob }),
    ...(range === undefined ? {} : { semver: range }),
    ...(newest === undefined ? {} : { newest }),
  };
  return { kind: 'repository', repository, tags: rule };
}

const schema = mapOf({
  schedule: parsed('a schedule such as cron(0 3 * * ? *) or rate(6 hours)', parseSchedule),
  timeZone: parsed('a time zone such as Europe/Berlin', parseTimeZone).default('UTC'),
  parallel: wholeNumber(1, MAX_PARALLEL).default(DEFAULT_PARALLEL),
  images: someOf(entry, '[{reference: alpine:3.20}]', 'name the images to keep in the cache'),
});

/** The registries that a warm-up may name: the valid ones, and the names of all, so that no problem is reported twice. */
export interface WarmupRegistries {
  readonly checked: ReadonlyMap<string, RegistrySettings>;
  readonly named: ReadonlySet<string>;
}

/** The section `warmups`, checked; problems go to `found`. */
export function warmupsOf(section: unknown, registries: WarmupRegistries, found: Problems): readonly WarmupSettings[] {
  if (section === undefined || section === null) return [];
  if (!isMap(section)) {
    found.add(['warmups'], `${EXAMPLE}, found ${kindOf(section)}`);
    return [];
  }
  const entries = Object.entries(section);
  if (entries.length > MAX_WARMUPS) found.add(['warmups'], `has more than ${MAX_WARMUPS} entries`);
  return entries.slice(0, MAX_WARMUPS).flatMap(([name, one]) => {
    if (!NAME.test(name)) {
      found.add(['warmups', name], 'is not a name; write letters, digits, "-" and "_", at most 40');
    }
    const checked = schema.safeParse(one);
    if (!checked.success) {
      for (const { path, message } of issuesOf(checked.error)) found.add(['warmups', name, ...path], message);
      return [];
    }
    const { schedule, timeZone, parallel, images } = checked.data;
    for (const [index, { what }] of images.entries()) {
      const { repository } = what.kind === 'reference' ? what.reference : what;
      const why = refusal(repository, registries);
      const key = what.kind === 'reference' ? 'reference' : 'repository';
      if (why !== undefined) found.add(['warmups', name, 'images', index, key], why);
    }
    return [{ name, schedule, timeZone, parallel, entries: images }];
  });
}

/** Why the repository may not be pulled; undefined if it may. */
function refusal(repository: Repository, { checked, named }: WarmupRegistries): string | undefined {
  const settings = checked.get(repository.registry);
  if (settings === undefined) {
    if (named.has(repository.registry)) return undefined;
    return `registry ${repository.registry} is not configured; add it to "registries"`;
  }
  if (allowOf(settings)(repository.path)) return undefined;
  return `${formatRepository(repository)} is not allowed; add it to "allow" of registry ${repository.registry}`;
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
