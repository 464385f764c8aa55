import { randomBytes, scrypt as nodeScrypt, timingSafeEqual } from 'node:crypto';

/** A stored password: an scrypt hash (RFC 7914) with its costs and salt. */
export interface PasswordHash {
  /** Binary logarithm of N. */
  readonly log2N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/** Derives `hash.length` bytes from the password, with the costs and salt of `hash`. */
export type Scrypt = (password: string, hash: PasswordHash) => Promise<Uint8Array>;

/** The costs of new hashes: 32 MiB, and as long as OWASP's recommendation for scrypt. */
const USUAL = { log2N: 15, r: 8, p: 3 } as const;
const SALT_BYTES = { least: 16, usual: 16, most: 64 } as const;
const HASH_BYTES = { least: 32, usual: 32, most: 64 } as const;
/** Of one verification: 128 × N × r. Two run at a time. */
const MOST_MEMORY_BYTES = 64 * 1024 * 1024;
/** N × r × p: below, a stolen file is cheap to search; above, one login costs seconds. */
const COST = { least: 2 ** 17, most: 2 ** 21 } as const;
const FORM = /^scrypt\$(\d{1,2})\$(\d{1,2})\$(\d{1,2})\$([\w-]{20,88})\$([\w-]{40,88})$/;

/**
 * The hash in `scrypt$<log2N>$<r>$<p>$<salt>$<hash>`, salt and hash in base64url.
 *
 * @throws Error that says what is wrong, without quoting the text.
 */
export function parsePasswordHash(text: string): PasswordHash {
  const [, log2N = '', r = '', p = '', saltText = '', hashText = ''] = FORM.exec(text) ?? [];
  const salt = Buffer.from(saltText, 'base64url');
  const hash = Buffer.from(hashText, 'base64url');
  if (!isWithin(salt.length, SALT_BYTES) || !isWithin(hash.length, HASH_BYTES)) {
    throw new Error('is not a hash as `entrepot hash-password` prints it: scrypt$<log2N>$<r>$<p>$<salt>$<hash>');
  }
  const parsed = { log2N: Number(log2N), r: Number(r), p: Number(p), salt, hash };
  const cost = 2 ** parsed.log2N * parsed.r * parsed.p;
  if (!isWithin(cost, COST) || memoryOf(parsed) > MOST_MEMORY_BYTES) {
    throw new Error(
      `has costs that are not accepted: N × r × p must be from 2^17 to 2^21, and 128 × N × r at most ${MOST_MEMORY_BYTES} bytes; make it by \`entrepot hash-password\``,
    );
  }
  return parsed;
}

export function formatPasswordHash({ log2N, r, p, salt, hash }: PasswordHash): string {
  const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  return ['scrypt', log2N, r, p, base64url(salt), base64url(hash)].join('$');
}

/** A new hash of the password, with a salt of its own. */
export async function hashPassword(password: string): Promise<PasswordHash> {
  const wanted = { ...USUAL, salt: randomBytes(SALT_BYTES.usual), hash: new Uint8Array(HASH_BYTES.usual) };
  return { ...wanted, hash: await scrypt(password, wanted) };
}

/** Whether the password is right; takes the same time for every wrong one. */
export async function isPassword(password: string, known: PasswordHash, derive: Scrypt = scrypt): Promise<boolean> {
  const derived = await derive(password, known);
  return derived.length === known.hash.length && timingSafeEqual(derived, known.hash);
}

/** Runs in Node's thread pool. */
export const scrypt: Scrypt = (password, wanted) => {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const { log2N, r, p, salt, hash } = wanted;
  // Node's limit counts a little more than 128 × N × r.
  const options = { N: 2 ** log2N, r, p, maxmem: 2 * memoryOf(wanted) };
  nodeScrypt(password, salt, hash.length, options, (error, derived) => {
    if (error === null) resolve(derived);
    else reject(error);
  });
  return promise;
};

const memoryOf = ({ log2N, r }: Pick<PasswordHash, 'log2N' | 'r'>): number => 128 * 2 ** log2N * r;

const isWithin = (value: number, { least, most }: { readonly least: number; readonly most: number }): boolean =>
  value >= least && value <= most;
