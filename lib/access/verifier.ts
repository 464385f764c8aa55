import { createHmac, randomBytes } from 'node:crypto';
import { BusyError } from '../errors/cache-error.ts';
import type { BasicCredentials } from './basic.ts';
import { isPassword, scrypt as nodeScrypt, type Scrypt } from './password-hash.ts';
import type { KnownUsers, User } from './users.ts';

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
