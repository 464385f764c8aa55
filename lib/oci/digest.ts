import { createHash } from 'node:crypto';
import { InvalidDigestError } from '../errors/cache-error.ts';

declare const digestBrand: unique symbol;
/**
 * `sha256:` and 64 lower-case hex digits, or `sha512:` and 128, checked.
 * https://github.com/opencontainers/image-spec/blob/main/descriptor.md#registered-algorithms
 */
export type Digest = string & { readonly [digestBrand]: true };

export type Algorithm = 'sha256' | 'sha512';

const HEX_DIGITS: Readonly<Record<Algorithm, number>> = { sha256: 64, sha512: 128 };
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;
const ANY_ALGORITHM = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** The form of a digest, for messages. */
export const DIGEST_FORM = 'sha256:<64 lower-case hex digits> or sha512:<128 lower-case hex digits>';

export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/**
 * The digest in `text`.
 *
 * @throws InvalidDigestError for other algorithms, a wrong length or upper case.
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const shown = text.length > 160 ? `${text.slice(0, 160)}…` : text;
  const algorithm = text.split(':', 1)[0] ?? '';
  if (text.includes(':') && isAlgorithm(algorithm)) {
    const found = text.length - algorithm.length - 1;
    throw new InvalidDigestError(
      `digest ${JSON.stringify(shown)}: after ${algorithm}: there must be exactly ${HEX_DIGITS[algorithm]} lower-case hex digits, found ${found} characters`,
    );
  }
  const problem = ANY_ALGORITHM.test(text) ? 'unknown algorithm' : 'not a digest';
  throw new InvalidDigestError(`digest ${JSON.stringify(shown)}: ${problem}; use ${DIGEST_FORM}`);
}

const isAlgorithm = (text: string): text is Algorithm => Object.hasOwn(HEX_DIGITS, text);

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array, algorithm: Algorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/** The length of both algorithm names. */
const NAME_CHARACTERS = 6;

export const algorithmOf = (digest: Digest): Algorithm => digest.slice(0, NAME_CHARACTERS) as Algorithm;

/** The hex digits: 64 of SHA-256, 128 of SHA-512. */
export function hexOf(digest: Digest): string {
  return digest.slice(NAME_CHARACTERS + 1);
}
