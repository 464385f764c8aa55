import { resolve } from 'node:path';
import * as z from 'zod';
import type { InboundAuth } from '../access/principal.ts';
import type { Freshness, FreshnessRule, ServeSettings } from '../serve/settings.ts';
import type { Problems } from './problems.ts';
import { readTextFile, UnreadableFileError } from './read-file.ts';
import { checkGlob, issuesOf, list, mapOf, parsed, someOf, strictMap, text, wholeNumber } from './schema-parts.ts';
import { parseOrigin, parseOwnHost } from './schema.ts';

const FORMS = 'none, tokens, {users: {file: <path>}} or {users: {secret: <Secrets Manager id>}}';
const MAX_FILE_BYTES = 1024 * 1024;

/** The same message for all forms: zod cannot know which one was meant. Values are not shown, because one may be a password. */
const orOtherForm = {
  error: (issue: { code?: string | undefined }): string =>
    `${issue.code === 'unrecognized_keys' ? 'unknown key; ' : ''}write ${FORMS}`,
};

/** `serve.auth`: who may pull. */
export const inboundSchema = z.union(
  [
    z.enum(['none', 'tokens']),
    z.strictObject(
      {
        users: z.union(
          [
            z.strictObject({ file: text('the path of a file with users') }, orOtherForm),
            z.strictObject({ secret: text('the name or ARN of a secret in Secrets Manager', 2048) }, orOtherForm),
          ],
          orOtherForm,
        ),
      },
      orOtherForm,
    ),
  ],
  orOtherForm,
);

export interface InboundTarget {
  /** The folder of the configuration, to which paths are relative. */
  readonly folder: string;
  /** Whether it is checked for a deployment. */
  readonly onAws: boolean;
  /** The endpoint on AWS. */
  readonly front: 'httpApi' | 'alb';
}

/**
 * The section `serve.auth`, checked; problems go to `found`. Default: on AWS passwords of POST /v1/token, else no login.
 *
 * On AWS there is no file of users. An HTTP API is open to the whole internet, so it needs a login.
 */
export function inboundOf(section: unknown, { folder, onAws, front }: InboundTarget, found: Problems): InboundAuth {
  const usual: InboundAuth = onAws ? { kind: 'basic' } : { kind: 'none' };
  if (section === undefined || section === null) return usual;
  const outcome = inboundSchema.safeParse(section);
  const where = ['serve', 'auth'];
  if (!outcome.success) {
    for (const { path, message } of outcome.error.issues) found.add([...where, ...path], message);
    return usual;
  }
  const value = outcome.data;
  if (value === 'tokens') return { kind: 'basic' };
  if (value === 'none') {
    if (onAws && front === 'httpApi') {
      found.add(
        where,
        'is none, but everyone on the internet can reach an HTTP API; write tokens or users, or front: alb for an endpoint inside your network',
      );
    }
    return { kind: 'none' };
  }
  const { users } = value;
  if ('secret' in users) return { kind: 'basic', users: { secretId: users.secret } };
  const file = resolve(folder, users.file);
  if (onAws) {
    found.add(
      [...where, 'users', 'file'],
      'is a file, but functions have none; put it into a secret: {secret: <Secrets Manager id>}',
    );
  } else checkFile(file, [...where, 'users', 'file'], found);
  return { kind: 'basic', users: { file } };
}

/** Checks that the file is readable. Its content is read when a user is looked up. */
function checkFile(file: string, where: readonly string[], found: Problems): void {
  try {
    readTextFile(file, MAX_FILE_BYTES);
  } catch (error) {
    if (!(error instanceof UnreadableFileError)) throw error;
    found.add(where, `${JSON.stringify(file)}: ${error.message}`);
  }
}

const DAY_SECONDS = 86_400;
const MOST_SECONDS = 365 * DAY_SECONDS;
const seconds = (otherwise: number) => wholeNumber(0, MOST_SECONDS, ` (default: ${otherwise})`).optional();
const oneOf = <const T extends readonly [string, ...string[]]>(names: T) =>
  z.enum(names, { error: `write one of ${names.join(', ')}` });

/** The defaults of a rule. */
const USUAL = {
  ttlSeconds: 300,
  staleIfErrorSeconds: 30 * DAY_SECONDS,
  keepOnNotFound: true,
  maxStaleOnDeniedSeconds: 7 * DAY_SECONDS,
  notFoundSeconds: 60,
};
/** Docker Hub counts pulls, so it is asked for a tag once an hour, however many containers start. */
const HUB = { ...USUAL, ttlSeconds: 3_600 };
const USUAL_REFERRERS_SECONDS = 300;
const USUAL_WAITING = 1_000;
/** Each takes one of the 1,000 invocations that an account may have at once. */
const USUAL_WAITING_ON_AWS = 300;

const rule = mapOf({
  repositories: someOf(
    parsed('a glob over repositories', (value) => checkGlob(value, 'docker.io/library/*')),
    '["docker.io/library/*"]',
    'name the repositories that the rule is for',
  ),
  tags: list(
    parsed('a glob over tags', (value) => checkGlob(value, '*-nightly')),
    '["latest"]',
  ).optional(),
  ttlSeconds: seconds(USUAL.ttlSeconds),
  staleIfErrorSeconds: seconds(USUAL.staleIfErrorSeconds),
  keepOnNotFound: z.boolean({ error: 'write true or false' }).optional(),
  maxStaleOnDeniedSeconds: seconds(USUAL.maxStaleOnDeniedSeconds),
  notFoundSeconds: seconds(USUAL.notFoundSeconds),
});

const schema = z.strictObject(
  {
    auth: z.unknown().optional(),
    front: oneOf(['httpApi', 'alb']).optional(),
    hosts: list(parsed('a host name', parseOwnHost), '[cache.example.test]').optional(),
    blobEndpoint: parsed('an origin', parseOrigin).optional(),
    onBlobMiss: oneOf(['wait', 'redirect']).optional(),
    waiting: wholeNumber(1, 10_000, ` (default: ${USUAL_WAITING}, on AWS ${USUAL_WAITING_ON_AWS})`).optional(),
    referrersTtlSeconds: seconds(USUAL_REFERRERS_SECONDS),
    freshness: list(rule, '[{repositories: ["docker.io/library/*"], ttlSeconds: 600}]').optional(),
  },
  strictMap,
);

/** The address of `entrepot serve`, which it prints for clients. */
const LOOPBACK = '127.0.0.1';

/** Why blobs cannot be at a host to which a redirect from the cache {@link keepsLogin}. */
export const WHY_NOT_BELOW =
  'docker, crane, helm and other clients built with a current Go keep their login on redirects to another port or a subdomain of a host, and S3 answers 400 to a signed URL that comes with a login';

/** Whether a redirect from one host to another keeps `Authorization` in Go's net/http: to the same host on any port, and to its subdomains. */
export const keepsLogin = (from: string, to: string): boolean =>
  to === from || to.replace(/\.$/, '').endsWith(`.${from}`);

/** The section `serve`, checked; problems go to `found`. */
export function serveOf(section: unknown, target: Omit<InboundTarget, 'front'>, found: Problems): ServeSettings {
  const outcome = schema.safeParse(section ?? {});
  if (!outcome.success) {
    for (const { path, message } of issuesOf(outcome.error, Object.keys(schema.shape))) {
      found.add(['serve', ...path], message);
    }
  }
  const {
    front = 'httpApi',
    hosts = [],
    blobEndpoint,
    onBlobMiss,
    waiting,
    referrersTtlSeconds,
    freshness = [],
  } = outcome.data ?? {};
  const { auth } = (section ?? {}) as { readonly auth?: unknown };
  // Checked even if the rest of the section is wrong, so that all problems are listed at once.
  const inbound = inboundOf(auth, { ...target, front }, found);
  // Mirrors get logins, too: those of the registry that they mirror. On loopback only our own login matters.
  const names = target.onAws || inbound.kind === 'none' ? hosts : [...hosts, LOOPBACK];
  const name = names.find((one) => blobEndpoint !== undefined && keepsLogin(one, blobEndpoint.hostname));
  if (name !== undefined) {
    found.add(
      ['serve', 'blobEndpoint'],
      `is at or below ${name}, a name of the cache itself: ${WHY_NOT_BELOW}; write another host, or leave it out for S3's own`,
    );
  }
  return {
    auth: inbound,
    front,
    ...(blobEndpoint === undefined ? {} : { blobEndpoint }),
    onBlobMiss: onBlobMiss ?? 'wait',
    waiting: waiting ?? (target.onAws ? USUAL_WAITING_ON_AWS : USUAL_WAITING),
    referrersTtlMs: (referrersTtlSeconds ?? USUAL_REFERRERS_SECONDS) * 1_000,
    freshness: [
      ...freshness.map(({ repositories, tags = [], ...given }): FreshnessRule => ({
        repositories,
        tags,
        freshness: freshnessFrom({ ...USUAL, ...definedOf(given) }),
      })),
      { repositories: ['docker.io/**'], tags: [], freshness: freshnessFrom(HUB) },
      { repositories: ['**'], tags: [], freshness: freshnessFrom(USUAL) },
    ],
  };
}

const definedOf = <T extends object>(value: T): Partial<T> =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Partial<T>;

const freshnessFrom = (given: Partial<Record<keyof typeof USUAL, number | boolean | undefined>>): Freshness => {
  const { ttlSeconds, staleIfErrorSeconds, keepOnNotFound, maxStaleOnDeniedSeconds, notFoundSeconds } =
    given as typeof USUAL;
  return {
    ttlMs: ttlSeconds * 1_000,
    staleIfErrorMs: staleIfErrorSeconds * 1_000,
    keepOnNotFound,
    maxStaleOnDeniedMs: maxStaleOnDeniedSeconds * 1_000,
    notFoundMs: notFoundSeconds * 1_000,
  };
};
