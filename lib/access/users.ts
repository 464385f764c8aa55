import { ConfigError } from '../errors/cache-error.ts';
import { kept } from '../async/kept.ts';
import { parsePasswordHash, type PasswordHash } from './password-hash.ts';

/** A user with a password. */
export interface User {
  readonly name: string;
  readonly password: PasswordHash;
  readonly groups: readonly string[];
}

/** By name. */
export type KnownUsers = ReadonlyMap<string, User>;

/** The users of the section `serve.auth`. */
export interface Users {
  /** As they were {@link USERS_KEPT_MS} ago at most. @throws ConfigError; CacheError (retryable) where they cannot be read now */
  read(signal: AbortSignal): Promise<KnownUsers>;
}

/** User name for minted passwords; not allowed for users. */
export const TOKEN_USER = 'token';
/** How long a removed user or an old password still works at most; a verified password is remembered for a minute more. */
const USERS_KEPT_MS = 2 * 60_000;
/** The same while Secrets Manager cannot be reached. */
const USERS_STALE_MS = 60 * 60_000;

const MOST_USERS = 1_000;
const MOST_GROUPS = 50;
/** What both Basic and a rule can express. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/;
const KEYS = ['name', 'password', 'groups'];

/** Users from `read`, read again every few minutes, once for all concurrent callers. */
export function usersFrom(
  read: (signal: AbortSignal) => Promise<KnownUsers>,
  now: () => number = () => Date.now(),
): Users {
  return { read: kept({ read, freshMs: USERS_KEPT_MS, staleMs: USERS_STALE_MS, now }) };
}

/**
 * The users of a document: a list of `{name, password, groups}`.
 *
 * @param source where the document is, for the error.
 * @throws ConfigError that lists every problem, and quotes only names (I7).
 */
export function parseUsers(document: unknown, source: string): KnownUsers {
  const problems: string[] = [];
  const users = new Map<string, User>();
  if (!Array.isArray(document)) {
    problems.push('is not a list of users; write [{name: …, password: "scrypt$…", groups: […]}]');
  } else if (document.length > MOST_USERS) {
    problems.push(`has more than ${MOST_USERS} users`);
  } else {
    for (const [index, entry] of document.entries()) {
      const user = userOf(entry, `[${index}]`, problems);
      if (user === undefined) continue;
      if (users.has(user.name)) problems.push(`[${index}].name: ${user.name} is given twice`);
      users.set(user.name, user);
    }
  }
  if (problems.length === 0) return users;
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
  throw new ConfigError([`the users in ${source} have ${count}`, ...problems.slice(0, 20)].join('\n  '));
}

function userOf(entry: unknown, at: string, problems: string[]): User | undefined {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    problems.push(`${at}: is not a map; write {name: …, password: "scrypt$…", groups: […]}`);
    return undefined;
  }
  const before = problems.length;
  const { name, password, groups = [] } = entry as Readonly<Record<string, unknown>>;
  // The key is not quoted: where the colon is missing, it may be a password.
  if (Object.keys(entry).some((key) => !KEYS.includes(key))) {
    problems.push(`${at}: has an unknown key; the known ones are ${KEYS.join(', ')}`);
  }
  if (!isName(name)) problems.push(`${at}.name: write letters, digits and ._@+-, at most 128`);
  else if (name === TOKEN_USER)
    problems.push(`${at}.name: ${TOKEN_USER} is reserved for minted passwords; choose another`);
  if (!isNames(groups)) {
    problems.push(`${at}.groups: write a list of at most ${MOST_GROUPS} names of letters, digits and ._@+-`);
  }
  const hash = hashOf(password, `${at}.password`, problems);
  if (problems.length > before || hash === undefined || !isName(name) || !isNames(groups)) return undefined;
  return { name, password: hash, groups: [...new Set(groups)] };
}

function hashOf(password: unknown, at: string, problems: string[]): PasswordHash | undefined {
  try {
    return parsePasswordHash(typeof password === 'string' ? password : '');
  } catch (error) {
    problems.push(`${at}: ${(error as Error).message}`);
    return undefined;
  }
}

export const isName = (value: unknown): value is string => typeof value === 'string' && NAME.test(value);

const isNames = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.length <= MOST_GROUPS && value.every(isName);
