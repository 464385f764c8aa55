import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SigningKeys } from '../../access/signing-key.ts';

/** Redirects to ourselves that one client may follow for one blob: most clients follow ten in all, and the last leads to S3. */
export const MAX_HOPS = 8;
const LIFETIME_MS = 60_000;
const SIGNATURE_CHARACTERS = 32;

/** Counts how often a waiting client was sent back to us: signed, so that nobody counts for us. */
export interface Hops {
  /** How often the client that brings `token` was sent back for this path. 0 for one that brings none, or not ours. */
  count(token: string | undefined, path: string, signal: AbortSignal): Promise<number>;
  /** What the client brings the next time. */
  next(count: number, path: string, signal: AbortSignal): Promise<string>;
}

export function hops(keys: SigningKeys): Hops {
  const sign = async (text: string, signal: AbortSignal): Promise<string> => {
    const key = await keys.key('waiting room', signal);
    return createHmac('sha256', key).update(text).digest('base64url').slice(0, SIGNATURE_CHARACTERS);
  };
  return {
    async count(token, path, signal) {
      const [, count = '', untilMs = '', signature = ''] = /^(\d)\.(\d{13})\.([\w-]{32})$/.exec(token ?? '') ?? [];
      if (signature === '' || Number(untilMs) < Date.now()) return 0;
      const expected = await sign(`${count}.${untilMs}.${path}`, signal);
      return timingSafeEqual(Buffer.from(signature), Buffer.from(expected)) ? Number(count) : 0;
    },
    async next(count, path, signal) {
      const claim = `${count + 1}.${Date.now() + LIFETIME_MS}`;
      return `${claim}.${await sign(`${claim}.${path}`, signal)}`;
    },
  };
}
