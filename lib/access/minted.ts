import { createHmac, timingSafeEqual } from 'node:crypto';
import { InvalidRequestError, UnauthenticatedError } from '../errors/cache-error.ts';
import type { SigningKeys } from './signing-key.ts';

/** Who a minted password was given to, as the control API knew it. */
export type MintedCaller =
  /** The ARN of lib/access/caller.ts: of a role, without path and session. */
  | { readonly kind: 'iam'; readonly arn: string }
  /** The subject of a JWT, for the log, and the values of the configured claim, for the rules. */
  | { readonly kind: 'jwt'; readonly subject: string; readonly values: readonly string[] };

export interface MintedPassword {
  readonly password: string;
  readonly expiresAtMs: number;
}

/** Seconds. */
export const LIFETIME = { least: 1, usual: 3_600, most: 3_600 } as const;
/** With less than what Basic takes as a password: see basic.ts. */
const FORM = /^(v1\.([\w-]{1,4000}))\.([\w-]{43})$/;

/**
 * A password that proves for `lifetimeSeconds` who it was minted for, to whoever has the same keys: `v1.<payload>.<HMAC-SHA256>` in base64url. Nothing keeps
 * it, and nothing can take it back before it expires but a new secret.
 *
 * @throws InvalidRequestError if there is more to say of the caller than fits into a password.
 */
export async function mintPassword(
  keys: SigningKeys,
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
  const password = `${signed}.${signatureOf(await keys.key('minted passwords', signal), signed)}`;
  if (!FORM.test(password)) {
    throw new InvalidRequestError('token', 'the claim of the token has more values than fit into a password');
  }
  return { password, expiresAtMs: until * 1000 };
}

/**
 * Who the password was minted for.
 *
 * @throws UnauthenticatedError if it was not signed by these keys, or its time is over.
 */
export async function verifyMinted(
  keys: SigningKeys,
  password: string,
  { signal, now = () => Date.now() }: { readonly signal: AbortSignal; readonly now?: () => number },
): Promise<MintedCaller> {
  const [, signed = '', payload = '', signature = ''] = FORM.exec(password) ?? [];
  if (signature === '') throw new UnauthenticatedError('the password is none that POST /v1/token answers');
  const expected = signatureOf(await keys.key('minted passwords', signal), signed);
  if (!timingSafeEqual(Buffer.from(signature), Buffer.from(expected))) {
    throw new UnauthenticatedError(
      'the password was not minted here, or the signing secret was replaced: mint another',
    );
  }
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Readonly<Record<string, unknown>>;
  const caller = callerOf(claims);
  const untilMs = typeof claims.exp === 'number' ? claims.exp * 1000 : 0;
  if (caller === undefined || now() >= untilMs) {
    throw new UnauthenticatedError('the time of this password is over; POST /v1/token mints another');
  }
  return caller;
}

const signatureOf = (key: Uint8Array, signed: string): string =>
  createHmac('sha256', key).update(signed).digest('base64url');

function callerOf({ arn, sub, values }: Readonly<Record<string, unknown>>): MintedCaller | undefined {
  if (typeof arn === 'string') return { kind: 'iam', arn };
  if (typeof sub !== 'string' || !Array.isArray(values)) return undefined;
  return { kind: 'jwt', subject: sub, values: values.filter((value) => typeof value === 'string') };
}
