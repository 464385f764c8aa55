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

/** Finds out whether a password is right. Costly on purpose: see {@link verifier}. */
export interface Verifier {
  /** The user, or undefined where user and password do not belong together. @throws BusyError */
  verify(credentials: BasicCredentials, users: KnownUsers): Promise<User | undefined>;
}

/** Each takes up to 64 MiB and a processor. */
const MOST_RUNNING = 2;
/** Behind them: some seconds of work. */
const MOST_WAITING = 32;

/**
 * Runs scrypt for each question, {@link MOST_RUNNING} at a time; beyond {@link MOST_WAITING} that wait it refuses at once, so that a flood takes neither all
 * memory nor all processors. A name that nobody has costs what one of the users costs, always the same one for the same name.
 */
export function verifier(scrypt: Scrypt = nodeScrypt): Verifier {
  const turns = limitedTurns();
  const decoyKey = randomBytes(32);
  const decoyFor = (name: string, users: KnownUsers): User | undefined => {
    const number = createHmac('sha256', decoyKey).update(name).digest().readUInt32BE();
    return [...users.values()][number % users.size];
  };
  return {
    async verify({ user: name, password }, users) {
      const user = users.get(name);
      const asked = user ?? decoyFor(name, users);
      // Without users there is nobody to tell apart.
      if (asked === undefined) return undefined;
      using _turn = await turns.take();
      const isRight = await isPassword(password, asked.password, scrypt);
      return isRight ? user : undefined;
    },
  };
}

function limitedTurns(): { take(): Promise<Disposable> } {
  let running = 0;
  const waiting: (() => void)[] = [];
  const end = (): void => {
    const next = waiting.shift();
    // The turn goes on to the next one, as it is.
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
  /** Of the section `access`: what users, groups and the callers of minted passwords may use. */
  readonly rules: AccessSettings['rules'];
  readonly users: Users;
  /** Of minted passwords. */
  readonly publishedKey: Pick<PublishedKey, 'find'>;
  readonly now?: () => number;
  readonly scrypt?: Scrypt;
}

/** How long a password that was right is not verified again. */
const RIGHT_MS = 60_000;
/** A client that tries again and again with a wrong one. */
const WRONG_MS = 10_000;
/** Of each kind: wrong ones drive no right ones out. */
const MOST_REMEMBERED = 1_000;

const ANYONE: Principal = { name: 'anyone', mayUse: () => true };
const WRONG = 'the user or the password is wrong';

/**
 * Finds out who pulls: nobody has to say it (`none`), or by Basic, as a user with a password of their own or as `token` with a password that `POST /v1/token`
 * minted for the caller.
 *
 * What is right is remembered for a minute under an HMAC of the whole header, so that scrypt is not on the way of a hit; what is wrong for ten seconds. The same
 * header is verified once for all who bring it meanwhile. All comparisons of secrets take the same time, and so does a user that does not exist.
 */
export function authenticator(options: AuthenticatorOptions): Authenticator {
  return options.auth.kind === 'none'
    ? { challenge: undefined, admit: () => Promise.resolve(ANYONE) }
    : basicDoorkeeper(options);
}

function basicDoorkeeper({
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
    const puller = user === undefined ? undefined : pullerOfUser(user, rules);
    if (puller === undefined) wrong.set(mark, true);
    else right.set(mark, puller);
    return puller;
  };
  const admitUser = async (credentials: BasicCredentials, header: string, signal: AbortSignal): Promise<Principal> => {
    const mark = createHmac('sha256', ofThisProcess).update(header).digest('base64');
    const known = right.get(mark);
    if (known !== undefined) return known;
    if (wrong.get(mark) !== undefined) throw new UnauthenticatedError(WRONG);
    const puller = await verifications.run(mark, signal, (shared) => verify(mark, credentials, shared));
    if (puller === undefined) throw new UnauthenticatedError(WRONG);
    return puller;
  };
  return {
    challenge: BASIC_CHALLENGE,
    async admit(authorization, signal) {
      const credentials = parseBasic(authorization);
      if (credentials.user === TOKEN_USER) {
        return pullerOfMinted(await verifyMinted(publishedKey, credentials.password, { signal, now }), rules);
      }
      return await admitUser(credentials, authorization ?? '', signal);
    },
  };
}

function pullerOfUser({ name, groups }: User, rules: AccessSettings['rules']): Principal {
  const names = [`user:${name}`, ...groups.map((group) => `group:${group}`)];
  return { ...accessOfNames(rules, names), name: `user:${name}` };
}

function pullerOfMinted(caller: MintedCaller, rules: AccessSettings['rules']): Principal {
  const names = caller.kind === 'iam' ? [caller.arn] : namesOfValues(caller.values);
  return { ...accessOfNames(rules, names), name: caller.kind === 'iam' ? caller.arn : caller.subject };
}
