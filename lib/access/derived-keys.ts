import { hkdfSync } from 'node:crypto';
import { ConfigError } from '../errors/cache-error.ts';
import { kept } from './kept.ts';
import type { KeyPurpose, SigningKeys } from './signing-key.ts';

const KEY_BYTES = 32;
/** Fewer could be guessed. */
const LEAST_CHARACTERS = 32;
/** For so long after the secret was replaced some processes sign by the old one. */
const FRESH_MS = 5 * 60_000;
/** For so long the secret is used on where it cannot be read again. */
const STALE_MS = 12 * 60 * 60_000;

/**
 * Keys that HKDF-SHA256 (RFC 5869) derives from the one secret, one for each purpose: none of them tells anything of the others.
 *
 * @param source what holds the secret, for errors.
 */
export function derivedKeys(
  source: string,
  readSecret: (signal: AbortSignal) => Promise<string>,
  now: () => number = () => Date.now(),
): SigningKeys {
  const read = async (signal: AbortSignal): Promise<(purpose: KeyPurpose) => Uint8Array> => {
    const secret = (await readSecret(signal)).trim();
    if (secret.length < LEAST_CHARACTERS) {
      throw new ConfigError(`${source} must hold a random text of at least ${LEAST_CHARACTERS} characters`);
    }
    const derived = new Map<KeyPurpose, Uint8Array>();
    return (purpose) => {
      const known = derived.get(purpose);
      if (known !== undefined) return known;
      const key = new Uint8Array(hkdfSync('sha256', secret, '', `entrepot v1 ${purpose}`, KEY_BYTES));
      derived.set(purpose, key);
      return key;
    };
  };
  const current = kept({ read, freshMs: FRESH_MS, staleMs: STALE_MS, now });
  return { key: async (purpose, signal) => (await current(signal))(purpose) };
}
