import * as z from 'zod';
import type { AccessSettings } from '../access/access.ts';
import { CacheError } from '../errors/cache-error.ts';
import { parseRegistry } from '../reference/reference.ts';
import type { Problems } from './problems.ts';
import { checkCallerGlob, checkGlob, issuesOf, mapOf, parsed, someOf, strictMap, text } from './schema-parts.ts';

const REPOSITORY_EXAMPLE = 'ghcr.io/org/** or docker.io/library/*';
const ROLE = 'arn:aws:iam::<account>:role/<name>';

function parseIssuer(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const plain = url?.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if (url?.protocol === 'https:' && plain) return value;
  throw new Error('is not an https URL without query; write the value of the claim "iss" of the tokens');
}

/** A glob over `<registry>/<repository>`. */
function parseNames(value: string): string {
  checkGlob(value, REPOSITORY_EXAMPLE);
  if (/^\/|\/$|\/\/|:\/\//.test(value) || !/\/|\*\*/.test(value)) {
    throw new Error(
      `${JSON.stringify(value)} can match no repository; write registry and repository without a tag, for example ${REPOSITORY_EXAMPLE}`,
    );
  }
  return value;
}

const parseCallers = (value: string): string => checkCallerGlob(value, ROLE);

const schema = z.strictObject(
  {
    jwt: mapOf({
      issuer: parsed('the issuer of the tokens, an https URL', parseIssuer),
      audience: someOf(text('an audience'), '[entrepot]', 'name the audiences whose tokens are taken'),
      claim: mapOf({
        name: text('the name of a claim, for example groups', 200),
        list: z.boolean({ error: 'write true or false, or leave it out' }).optional(),
        anyOf: someOf(
          parsed('a value of the claim', parseCallers),
          '[platform-team]',
          'name the values of the claim that may call',
        ),
      }),
    }).optional(),
    rules: someOf(
      mapOf({
        callers: someOf(parsed('a glob over callers', parseCallers), `["${ROLE}"]`, 'name who the rule is for'),
        repositories: someOf(
          parsed('a glob over repositories', parseNames),
          '["ghcr.io/org/**"]',
          'name what they may use',
        ),
      }),
      '[{callers: [...], repositories: [...]}]',
      'leave the key out if every caller may use everything',
    ).optional(),
  },
  strictMap,
);

/** The section `access`, checked; problems go to `found`. `registries` are the names that the file configures. */
export function accessSettingsOf(section: unknown, registries: ReadonlySet<string>, found: Problems): AccessSettings {
  const outcome = schema.safeParse(section ?? {});
  if (!outcome.success) {
    for (const { path, message } of issuesOf(outcome.error, Object.keys(schema.shape))) {
      found.add(['access', ...path], message);
    }
    return { rules: [] };
  }
  const { jwt, rules = [] } = outcome.data;
  for (const [index, { callers, repositories }] of rules.entries()) {
    const at = ['access', 'rules', index];
    if (jwt === undefined) {
      for (const [nth, caller] of callers.entries()) checkPrincipal(caller, [...at, 'callers', nth], found);
    }
    for (const [nth, names] of repositories.entries()) {
      checkRegistry(names, registries, [...at, 'repositories', nth], found);
    }
  }
  return { ...(jwt === undefined ? {} : { jwt }), rules };
}

/** Without a JWT callers are ARNs, or users with their groups; a rule for anything else would never match. */
function checkPrincipal(caller: string, where: readonly PropertyKey[], found: Problems): void {
  const named = /^(?:user|group):(?<name>.*)$/.exec(caller)?.groups?.name;
  if (named !== undefined) {
    if (named === '' || named.includes('/'))
      found.add(where, 'names no user or group; write user:<name> or group:<name>');
    return;
  }
  if (caller.includes(':assumed-role/')) {
    found.add(where, `names the session of a role; write the role itself: ${ROLE}`);
  } else if (/:role\/[^*?{[]*\//.test(caller)) {
    found.add(where, `names a role with its path, which callers do not show; write ${ROLE}`);
  } else if (!/^(?:arn:|[*?{[])/.test(caller)) {
    found.add(
      where,
      `matches no ARN; write for example ${ROLE}, user:<name> or group:<name>, or configure "access.jwt"`,
    );
  }
}

/** A registry without a wildcard must be configured; a rule for a misspelt one would never match. */
function checkRegistry(
  names: string,
  registries: ReadonlySet<string>,
  where: readonly PropertyKey[],
  found: Problems,
): void {
  const first = names.split('/', 1)[0] ?? '';
  if (/[*?{}[\]]/.test(first) || registries.has(first)) return;
  found.add(
    where,
    `begins with ${JSON.stringify(first)}, which is not the name of a configured registry (${[...registries].join(', ')})`,
  );
}

/** The canonical names of the file's registries, also of invalid entries. */
export function namesOf(keys: readonly string[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const key of keys) {
    try {
      names.add(parseRegistry(key));
    } catch (error) {
      // Not a name: reported with the registries.
      if (!(error instanceof CacheError)) throw error;
    }
  }
  return names;
}
