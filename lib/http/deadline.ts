/** Kept back for the end of a pull: giving up transfers, freeing leases, answering. */
const MARGIN_MS = 10_000;
/** Short invocations cannot spare so much. */
const MARGIN_SHARE = 0.15;
/** An HTTP API gives up after 30 s. */
const HTTP_MS = 25_000;

/** How long the work of an invocation may take that ends in `remainingMs`. */
export function workMsOf(remainingMs: number, isHttp: boolean): number {
  const workMs = Math.max(0, remainingMs - Math.min(MARGIN_MS, remainingMs * MARGIN_SHARE));
  return isHttp ? Math.min(workMs, HTTP_MS) : workMs;
}
