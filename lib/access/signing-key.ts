import { createPrivateKey, hkdfSync, type KeyObject } from 'node:crypto';
import { kept } from '../async/kept.ts';
import { ConfigError } from '../errors/cache-error.ts';

/** The private Ed25519 key that signs minted passwords (RFC 8032): only in the process that mints. Never shown. */
export interface SigningKey {
  /**
   * The same in every process that has the secret.
   *
   * @param atMostMs maximal age of the secret as it was read; by default some minutes.
   * @throws CacheError where the secret cannot be read
   */
  privateKey(signal: AbortSignal, atMostMs?: number): Promise<KeyObject>;
}

/** The public key of minted passwords, where every process can read it. Only functions that mint may write it: a process that can write it can issue passwords. */
export interface PublishedKey {
  /**
   * The key; undefined where no password is valid now: none was minted yet, or the last one expired.
   *
   * @param atMostMs maximal age of the key as it was read; by default a minute.
   * @throws CatalogError
   */
  find(signal: AbortSignal, atMostMs?: number): Promise<KeyObject | undefined>;
  /**
   * Publishes the key until then (epoch milliseconds), and answers whether it is published. False where another key is, which it does not replace.
   *
   * @throws CatalogError
   */
  renew(key: KeyObject, untilMs: number, signal: AbortSignal): Promise<boolean>;
  /** The same, replacing any other key: passwords of that one are no longer valid. */
  replace(key: KeyObject, untilMs: number, signal: AbortSignal): Promise<void>;
}

const SEED_BYTES = 32;
/** What stands before the seed in PKCS #8: https://www.rfc-editor.org/rfc/rfc8410#section-7 */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
/** Fewer could be guessed. */
const LEAST_CHARACTERS = 32;
/** How long after the secret was replaced a process may sign with the old one. */
const FRESH_MS = 5 * 60_000;
/** How long the secret is used while it cannot be read again. */
const STALE_MS = 12 * 60 * 60_000;

/**
 * The Ed25519 key whose seed HKDF-SHA256 (RFC 5869) derives from the secret, which may be any random text.
 *
 * @param source what holds the secret, for errors.
 */
export function derivedSigningKey(
  source: string,
  readSecret: (signal: AbortSignal) => Promise<string>,
  now: () => number = () => Date.now(),
): SigningKey {
  const read = async (signal: AbortSignal): Promise<KeyObject> => {
    const secret = (await readSecret(signal)).trim();
    if (secret.length < LEAST_CHARACTERS) {
      throw new ConfigError(`${source} must hold a random text of at least ${LEAST_CHARACTERS} characters`);
    }
    const seed = Buffer.from(hkdfSync('sha256', secret, '', 'entrepot v1 minted passwords', SEED_BYTES));
    return createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' });
  };
  return { privateKey: kept({ read, freshMs: FRESH_MS, staleMs: STALE_MS, now }) };
}
