import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { InvalidRequestError, UnauthenticatedError } from '../errors/cache-error.ts';
import type { PublishedKey, SigningKey } from './signing-key.ts';

/** The caller of the control API that a password was minted for. */
export type MintedCaller =
  /** The ARN of lib/access/principal.ts: of a role, without path and session. */
  | { readonly kind: 'iam'; readonly arn: string }
  /** The subject of a JWT, for the log, and the values of the configured claim, for the rules. */
  | { readonly kind: 'jwt'; readonly subject: string; readonly values: readonly string[] };

export interface MintedPassword {
  readonly password: string;
  readonly expiresAtMs: number;
}

/** Seconds. */
export const LIFETIME = { least: 1, usual: 3_600, most: 3_600 } as const;
/** Shorter than the longest password of Basic: see basic.ts. The last character holds two bits of the signature; its others are zero, so that there is one form. */
const FORM = /^(v1\.([\w-]{1,4000}))\.([\w-]{85}[AQgw])$/;
/** So that no password expires early where clocks differ. */
const SKEW_MS = 5 * 60_000;
/** After a wrong signature the public key is read again if it was read longer ago than this. */
const READ_AGAIN_MS = 1_000;

/** The private key that signs passwords, and where its public key is published. */
export interface MintingKeys {
  readonly signingKey: SigningKey;
  readonly publishedKey: PublishedKey;
}

/**
 * A password that proves for `lifetimeSeconds` for which caller it was minted, to every holder of the public key: `v1.<payload>.<Ed25519 signature>` in
 * base64url. It is not stored, and only a new secret can revoke it before it expires.
 *
 * @throws InvalidRequestError if the caller's claim does not fit into a password; CacheError where the secret or the table cannot be read.
 */
export async function mintPassword(
  keys: MintingKeys,
  caller: MintedCaller,
  lifetimeSeconds: number,
  { signal, now = () => Date.now() }: { readonly signal: AbortSignal; readonly now?: () => number },
): Promise<MintedPassword> {
  if (!(lifetimeSeconds >= LIFETIME.least && lifetimeSeconds <= LIFETIME.most)) {
    throw new InvalidRequestError(
      'lifetimeSeconds',
      `lifetimeSeconds: must be from ${LIFETIME.least} to ${LIFETIME.most}`,
    );
  }
  const until = Math.floor(now() / 1000 + lifetimeSeconds);
  const claims =
    caller.kind === 'iam'
      ? { arn: caller.arn, exp: until }
      : { sub: caller.subject, values: caller.values, exp: until };
  const signed = `v1.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  if (!FORM.test(`${signed}.${'A'.repeat(86)}`)) {
    throw new InvalidRequestError('token', 'the claim of the token has more values than fit into a password');
  }
  const key = await currentKey(keys, now() + LIFETIME.most * 1000 + SKEW_MS, signal);
  const password = `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
  return { password, expiresAtMs: until * 1000 };
}

/** The private key whose public half is published until then. */
async function currentKey(
  { signingKey, publishedKey }: MintingKeys,
  untilMs: number,
  signal: AbortSignal,
): Promise<KeyObject> {
  const known = await signingKey.privateKey(signal);
  if (await publishedKey.renew(createPublicKey(known), untilMs, signal)) return known;
  // The secret was replaced, before or after it was read here.
  const current = await signingKey.privateKey(signal, 0);
  await publishedKey.replace(createPublicKey(current), untilMs, signal);
  return current;
}

/**
 * The caller that the password was minted for.
 *
 * @throws UnauthenticatedError if it was not signed by the published key, or is expired; CatalogError where that key cannot be read.
 */
export async function verifyMinted(
  published: Pick<PublishedKey, 'find'>,
  password: string,
  { signal, now = () => Date.now() }: { readonly signal: AbortSignal; readonly now?: () => number },
): Promise<MintedCaller> {
  const [, signed = '', payload = '', signature = ''] = FORM.exec(password) ?? [];
  if (signature === '') throw new UnauthenticatedError('not a password issued by POST /v1/token');
  const isSignedBy = (key: KeyObject | undefined): boolean =>
    key !== undefined && verify(null, Buffer.from(signed), key, Buffer.from(signature, 'base64url'));
  // The key may have been replaced since it was read.
  if (!isSignedBy(await published.find(signal)) && !isSignedBy(await published.find(signal, READ_AGAIN_MS))) {
    throw new UnauthenticatedError(
      'the password was not issued here, or the signing secret was replaced: mint another',
    );
  }
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Readonly<Record<string, unknown>>;
  const caller = callerOf(claims);
  const untilMs = typeof claims.exp === 'number' ? claims.exp * 1000 : 0;
  if (caller === undefined || now() >= untilMs) {
    throw new UnauthenticatedError('password expired; POST /v1/token issues another');
  }
  return caller;
}

function callerOf({ arn, sub, values }: Readonly<Record<string, unknown>>): MintedCaller | undefined {
  if (typeof arn === 'string') return { kind: 'iam', arn };
  if (typeof sub !== 'string' || !Array.isArray(values)) return undefined;
  return { kind: 'jwt', subject: sub, values: values.filter((value) => typeof value === 'string') };
}
