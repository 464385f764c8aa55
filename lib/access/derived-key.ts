import { createPrivateKey, hkdfSync, type KeyObject } from 'node:crypto';
import { ConfigError } from '../errors/cache-error.ts';
import { kept } from '../async/kept.ts';
import type { SigningKey } from './signing-key.ts';

const SEED_BYTES = 32;
/** What stands before the seed in PKCS #8: https://www.rfc-editor.org/rfc/rfc8410#section-7 */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
/** Fewer could be guessed. */
const LEAST_CHARACTERS = 32;
/** For so long after the secret was replaced a process may sign by the old one. */
const FRESH_MS = 5 * 60_000;
/** For so long the secret is used on where it cannot be read again. */
const STALE_MS = 12 * 60 * 60_000;

/**
 * The Ed25519 key whose seed HKDF-SHA256 (RFC 5869) derives from the secret: any random text will do as one.
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
