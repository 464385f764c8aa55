import { createHmac, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { SingleFlight } from '../async/single-flight.ts';
import { BusyError, UnauthenticatedError } from '../errors/cache-error.ts';
import { accessOfNames, type AccessSettings, namesOfValues } from './access.ts';
import { BASIC_CHALLENGE, type BasicCredentials, parseBasic } from './basic.ts';
import { type MintedCaller, verifyMinted } from './minted.ts';
import { isPassword, type Scrypt, scrypt as nodeScrypt } from './password-hash.ts';
import type { Authenticator, InboundAuth, Principal } from './principal.ts';
import type { PublishedKey } from './signing-key.ts';
import { type KnownUsers, TOKEN_USER, type User, type Users } from './users.ts';

/** Verifies passwords. Slow on purpose: see {@link verifier}. */
export interface Verifier {
  /** The user, or undefined where the user does not exist or the password is wrong. @throws BusyError */
  verify(credentials: BasicCredentials, users: KnownUsers): Promise<User | undefined>;
}

/** Verifications at the same time. Each takes up to 64 MiB and a processor. */
const MOST_RUNNING = 2;
/** Verifications that wait: some seconds of work. */
const MOST_WAITING = 32;

/**
 * Runs scrypt for each password, {@link MOST_RUNNING} at a time; when {@link MOST_WAITING} wait, it refuses at once, so that a flood cannot take all memory and
 * processors. An unknown name takes as long as one of the users, always the same user for the same name.
 */
export function verifier(scrypt: Scrypt = nodeScrypt): Verifier {
  const permits = limitedPermits();
  const decoyKey = randomBytes(32);
  const decoyFor = (name: string, users: KnownUsers): User | undefined => {
    const number = createHmac('sha256', decoyKey).update(name).digest().readUInt32BE();
    return [...users.values()][number % users.size];
  };
  return {
    async verify({ user: name, password }, users) {
      const user = users.get(name);
      const asked = user ?? decoyFor(name, users);
      // Without users there is no name to hide.
      if (asked === undefined) return undefined;
      using _permit = await permits.take();
      const isRight = await isPassword(password, asked.password, scrypt);
      return isRight ? user : undefined;
    },
  };
}

function limitedPermits(): { take(): Promise<Disposable> } {
  let running = 0;
  const waiting: (() => void)[] = [];
  const end = (): void => {
    const next = waiting.shift();
    // The permit passes to the next one.
    if (next === undefined) running -= 1;
    else next();
  };
  return {
    async take() {
      if (running < MOST_RUNNING) running += 1;
      else if (waiting.length < MOST_WAITING) await new Promise<void>((resolve) => waiting.push(resolve));
      else throw new BusyError('verify password', 'too many passwords are being verified; ask again in a moment');
      return { [Symbol.dispose]: end };
    },
  };
}

export interface AuthenticatorOptions {
  readonly auth: InboundAuth;
  /** From the section `access`: what users, groups and the callers of minted passwords may use. */
  readonly rules: AccessSettings['rules'];
  readonly users: Users;
  /** Verifies minted passwords. */
  readonly publishedKey: Pick<PublishedKey, 'find'>;
  readonly now?: () => number;
  readonly scrypt?: Scrypt;
}

/** How long a right password is not verified again. */
const RIGHT_MS = 60_000;
/** How long a wrong password is refused without verification. */
const WRONG_MS = 10_000;
/** Of right and of wrong passwords each: wrong ones do not evict right ones. */
const MOST_REMEMBERED = 1_000;

const ANYONE: Principal = { name: 'anyone', mayUse: () => true };
const WRONG = 'the user or the password is wrong';

/**
 * Authenticates clients of the registry endpoint: no login (`none`), or Basic: as a user with a password, or as `token` with a password that `POST /v1/token`
 * minted.
 *
 * A right password is remembered for a minute under an HMAC of the whole header, so that hits need no scrypt; a wrong one for ten seconds. Concurrent requests
 * with the same header are verified once. Comparisons take the same time for all passwords, also for users that do not exist.
 */
export function authenticator(options: AuthenticatorOptions): Authenticator {
  return options.auth.kind === 'none'
    ? { challenge: undefined, admit: () => Promise.resolve(ANYONE) }
    : basicAuthenticator(options);
}

function basicAuthenticator({
  rules,
  users,
  publishedKey,
  now = () => Date.now(),
  scrypt,
}: AuthenticatorOptions): Authenticator {
  const verifying = verifier(scrypt);
  const clock = { perf: { now }, ttlResolution: 0 };
  const right = new LRUCache<string, Principal>({ max: MOST_REMEMBERED, ttl: RIGHT_MS, ...clock });
  const wrong = new LRUCache<string, true>({ max: MOST_REMEMBERED, ttl: WRONG_MS, ...clock });
  const ofThisProcess = randomBytes(32);
  const verifications = new SingleFlight<Principal | undefined>();

  const verify = async (
    mark: string,
    credentials: BasicCredentials,
    signal: AbortSignal,
  ): Promise<Principal | undefined> => {
    const known = await users.read(signal);
    const user = await verifying.verify(credentials, known);
    const principal = user === undefined ? undefined : principalOfUser(user, rules);
    if (principal === undefined) wrong.set(mark, true);
    else right.set(mark, principal);
    return principal;
  };
  const admitUser = async (credentials: BasicCredentials, header: string, signal: AbortSignal): Promise<Principal> => {
    const mark = createHmac('sha256', ofThisProcess).update(header).digest('base64');
    const known = right.get(mark);
    if (known !== undefined) return known;
    if (wrong.get(mark) !== undefined) throw new UnauthenticatedError(WRONG);
    const principal = await verifications.run(mark, signal, (shared) => verify(mark, credentials, shared));
    if (principal === undefined) throw new UnauthenticatedError(WRONG);
    return principal;
  };
  return {
    challenge: BASIC_CHALLENGE,
    async admit(authorization, signal) {
      const credentials = parseBasic(authorization);
      if (credentials.user === TOKEN_USER) {
        return principalOfMinted(await verifyMinted(publishedKey, credentials.password, { signal, now }), rules);
      }
      return await admitUser(credentials, authorization ?? '', signal);
    },
  };
}

function principalOfUser({ name, groups }: User, rules: AccessSettings['rules']): Principal {
  const names = [`user:${name}`, ...groups.map((group) => `group:${group}`)];
  return { ...accessOfNames(rules, names), name: `user:${name}` };
}

function principalOfMinted(caller: MintedCaller, rules: AccessSettings['rules']): Principal {
  const names = caller.kind === 'iam' ? [caller.arn] : namesOfValues(caller.values);
  return { ...accessOfNames(rules, names), name: caller.kind === 'iam' ? caller.arn : caller.subject };
}
