import { createHmac, randomBytes } from 'node:crypto';
import { UnauthenticatedError } from '../errors/cache-error.ts';
import { accessOfNames, namesOfValues } from './access-of.ts';
import type { AccessSettings } from './access.ts';
import { BASIC_CHALLENGE, parseBasic, type BasicCredentials } from './basic.ts';
import { unlessAborted } from './kept.ts';
import { verifyMinted, type MintedCaller } from './minted.ts';
import type { Scrypt } from './password-hash.ts';
import type { Doorkeeper, InboundAuth, Puller } from './puller.ts';
import { remembered } from './remembered.ts';
import type { PublishedKey } from './signing-key.ts';
import { TOKEN_USER, type User, type Users } from './users.ts';
import { verifier } from './verifier.ts';

export interface DoorkeeperOptions {
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

const ANYONE: Puller = { name: 'anyone', mayUse: () => true };
const WRONG = 'the user or the password is wrong';

/**
 * Finds out who pulls: nobody has to say it (`none`), or by Basic, as a user with a password of their own or as `token` with a password that `POST /v1/token`
 * minted for the caller.
 *
 * What is right is remembered for a minute under an HMAC of the whole header, so that scrypt is not on the way of a hit; what is wrong for ten seconds. The same
 * header is verified once for all who bring it meanwhile. All comparisons of secrets take the same time, and so does a user that does not exist.
 */
export function doorkeeper(options: DoorkeeperOptions): Doorkeeper {
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
}: DoorkeeperOptions): Doorkeeper {
  const verifying = verifier(scrypt);
  const right = remembered<Puller>(MOST_REMEMBERED, RIGHT_MS, now);
  const wrong = remembered<true>(MOST_REMEMBERED, WRONG_MS, now);
  const ofThisProcess = randomBytes(32);
  const underWay = new Map<string, Promise<Puller | undefined>>();

  const verify = async (mark: string, credentials: BasicCredentials): Promise<Puller | undefined> => {
    try {
      // For all who bring the same: no one caller's signal ends it.
      const known = await users.read(new AbortController().signal);
      const user = await verifying.verify(credentials, known);
      const puller = user === undefined ? undefined : pullerOfUser(user, rules);
      if (puller === undefined) wrong.set(mark, true);
      else right.set(mark, puller);
      return puller;
    } finally {
      underWay.delete(mark);
    }
  };
  const admitUser = async (credentials: BasicCredentials, header: string, signal: AbortSignal): Promise<Puller> => {
    const mark = createHmac('sha256', ofThisProcess).update(header).digest('base64');
    const known = right.get(mark);
    if (known !== undefined) return known;
    if (wrong.get(mark) !== undefined) throw new UnauthenticatedError(WRONG);
    const verified = underWay.get(mark) ?? verify(mark, credentials);
    underWay.set(mark, verified);
    const puller = await unlessAborted(verified, signal);
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

function pullerOfUser({ name, groups }: User, rules: AccessSettings['rules']): Puller {
  const names = [`user:${name}`, ...groups.map((group) => `group:${group}`)];
  return { ...accessOfNames(rules, names), name: `user:${name}` };
}

function pullerOfMinted(caller: MintedCaller, rules: AccessSettings['rules']): Puller {
  const names = caller.kind === 'iam' ? [caller.arn] : namesOfValues(caller.values);
  return { ...accessOfNames(rules, names), name: caller.kind === 'iam' ? caller.arn : caller.subject };
}
