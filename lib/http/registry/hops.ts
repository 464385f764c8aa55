/** Redirects to ourselves that one client may follow for one blob: most clients follow ten in all, and the last leads to S3. */
export const MAX_HOPS = 8;
const LIFETIME_MS = 60_000;

/**
 * How often the client that brings `token` was sent back to us. 0 for one that brings none, an old one (of a redirect that the client kept), or nonsense. It is
 * not signed: a client that says another number asks anew, which it may always do, or ends its own wait.
 */
export function hopsOf(token: string | undefined): number {
  const [, count = '0', untilMs = '0'] = /^([1-9])\.(\d{13})$/.exec(token ?? '') ?? [];
  return Number(untilMs) < Date.now() ? 0 : Number(count);
}

/** What the client brings the next time. */
export const nextHop = (count: number): string => `${count + 1}.${Date.now() + LIFETIME_MS}`;
