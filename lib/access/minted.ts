import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { InvalidRequestError, UnauthenticatedError } from '../errors/cache-error.ts';
import type { PublishedKey, SigningKey } from './signing-key.ts';

/** Who a minted password was given to, as the control API knew it. */
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
/** With less than what Basic takes as a password: see basic.ts. The last character has two bits of the signature; the others are zero, so that it has one form. */
const FORM = /^(v1\.([\w-]{1,4000}))\.([\w-]{85}[AQgw])$/;
/** So that clocks that differ end no password early. */
const SKEW_MS = 5 * 60_000;
/** After a signature that is wrong the public key is read again, where what is known of it is older than this. */
const LOOK_AGAIN_MS = 1_000;

/** What signs passwords, and where the other half of it is published. */
export interface MintingKeys {
  readonly signingKey: SigningKey;
  readonly publishedKey: PublishedKey;
}

/**
 * A password that proves for `lifetimeSeconds` who it was minted for, to whoever has the public key: `v1.<payload>.<Ed25519 signature>` in base64url. Nothing
 * keeps it, and nothing can take it back before it expires but a new secret.
 *
 * @throws InvalidRequestError if there is more to say of the caller than fits into a password; CacheError where the secret cannot be read, or the table.
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
  // The secret was replaced: before we read it last, or since.
  const current = await signingKey.privateKey(signal, 0);
  await publishedKey.replace(createPublicKey(current), untilMs, signal);
  return current;
}

/**
 * Who the password was minted for.
 *
 * @throws UnauthenticatedError if it was not signed by the key that is published, or it expired; CatalogError where that key cannot be read.
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
  if (!isSignedBy(await published.find(signal)) && !isSignedBy(await published.find(signal, LOOK_AGAIN_MS))) {
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
