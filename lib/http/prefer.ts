/** `wait = 10`, `wait="10"`; parameters after a ";" say nothing to us. Numbers beyond this many digits are no waits that anybody means. */
const WAIT = /^wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?$/i;

/**
 * How long the caller prefers to wait, in seconds, by the header `Prefer` (https://www.rfc-editor.org/rfc/rfc7240). The first `wait` counts; undefined where
 * there is none that can be understood: a preference is never an error.
 */
export function preferredWaitSeconds(prefer: string | undefined): number | undefined {
  const first = (prefer ?? '').split(',').find((one) => /^\s*wait\b/i.test(one));
  const match = first === undefined ? null : WAIT.exec(first.trim());
  const digits = match?.[1] ?? match?.[2];
  return digits === undefined ? undefined : Number(digits);
}
