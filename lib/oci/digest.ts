import { createHash } from 'node:crypto';
import { InvalidDigestError } from '../errors/cache-error.ts';

declare const digestBrand: unique symbol;
/** `sha256:` and 64 lower-case hex digits, checked. https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests */
export type Digest = string & { readonly [digestBrand]: true };

const SHA256 = /^sha256:[0-9a-f]{64}$/;
const SHA512 = /^sha512:[0-9a-f]{128}$/;
const ANY_ALGORITHM = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

export function isDigest(text: string): text is Digest {
  return SHA256.test(text);
}

/**
 * The digest in `text`.
 *
 * @throws InvalidDigestError for sha512 (understood, not kept: S3 can verify only SHA-256), other algorithms, a wrong length or upper case.
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const shown = text.length > 160 ? `${text.slice(0, 160)}…` : text;
  if (SHA512.test(text)) {
    throw new InvalidDigestError(
      `digest ${JSON.stringify(shown)}: sha512 is a valid algorithm, but Entrepot keeps content by sha256 only; ask for the image by its tag or by its sha256 digest`,
    );
  }
  if (text.startsWith('sha256:') || text.startsWith('sha512:')) {
    const hexDigits = text.startsWith('sha256:') ? 64 : 128;
    throw new InvalidDigestError(
      `digest ${JSON.stringify(shown)}: after ${text.slice(0, 7)} there must be exactly ${hexDigits} lower-case hex digits, found ${text.length - 7} characters`,
    );
  }
  if (ANY_ALGORITHM.test(text)) {
    throw new InvalidDigestError(
      `digest ${JSON.stringify(shown)}: unknown algorithm; use sha256:<64 lower-case hex digits>`,
    );
  }
  throw new InvalidDigestError(`digest ${JSON.stringify(shown)}: not a digest; use sha256:<64 lower-case hex digits>`);
}

/** The sha256 digest of `bytes`. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

/** The 64 hex digits. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
