import semver from 'semver';
import * as z from 'zod';
import { parsePlatform } from '../oci/platform.ts';
import { formatRepository, parseReference, type Reference, type Repository } from '../reference/reference.ts';
import { allowOf, type RegistrySettings } from '../registry/settings.ts';
import type { TagRule, WarmupEntry, WarmupSettings } from '../warmup/warmup-settings.ts';
import type { Problems } from './problems.ts';
import { parseSchedule, parseTimeZone } from './schedule.ts';
import { checkGlob, expected, issuesOf, kindOf, list, mapOf, parsed, someOf, wholeNumber } from './schema-parts.ts';

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
  images: someOf(entry, '[{reference: alpine:3.20}]', 'name what is to be kept warm'),
});

/** What a warm-up may name: the checked registries, and the names of all that the file has, so that no problem is told twice. */
export interface KnownRegistries {
  readonly checked: ReadonlyMap<string, RegistrySettings>;
  readonly named: ReadonlySet<string>;
}

/** The section `warmups`, checked; what is wrong with it goes to `found`. */
export function warmupsOf(section: unknown, registries: KnownRegistries, found: Problems): readonly WarmupSettings[] {
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
      for (const { path, message } of issuesOf(checked.error, [])) found.add(['warmups', name, ...path], message);
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

/** Why nothing of the repository may be pulled, if that is so. */
function refusal(repository: Repository, { checked, named }: KnownRegistries): string | undefined {
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
