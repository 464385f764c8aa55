import { redacted } from '../telemetry/logger.ts';
import type { Target } from './target.ts';

/**
 * Checks in a deployment one behaviour of AWS that the code relies on. The id is the one in docs/aws-assumptions.md.
 *
 * `Fixture` is shared by the checks of one service.
 */
export interface Check<Fixture> {
  readonly id: string;
  /** What must hold, in a few words. */
  readonly claim: string;
  /** Why the check is skipped on the embedded stack. */
  readonly awsOnly?: string;
  /**
   * Returns what was observed if the claim holds.
   *
   * @throws ContradictionError if it does not hold; SkipError if it cannot be checked; any other error if there was no answer.
   */
  run(fixture: Fixture, signal: AbortSignal): Promise<string>;
}

/** The deployment behaves differently than the code relies on. */
export class ContradictionError extends Error {
  override readonly name = 'ContradictionError';
}

/** The check cannot run here; the message says why. */
export class SkipError extends Error {
  override readonly name = 'SkipError';
}

export type Verdict = 'holds' | 'fails' | 'skipped';

/** The result of one check. */
export interface Finding {
  readonly id: string;
  readonly claim: string;
  readonly verdict: Verdict;
  /** What was observed, or why the check was skipped. */
  readonly seen: string;
  readonly durationMs: number;
}

/** @throws ContradictionError with the observation `seen` if the condition is false. */
export function must(isSo: boolean, seen: string): asserts isSo {
  if (!isSo) throw new ContradictionError(seen);
}

/** How a service refused a request. */
export interface Refusal {
  readonly status: number;
  /** The name of the error: `PreconditionFailed`. */
  readonly name: string;
  readonly error: unknown;
}

/** How the service refused `request`; undefined if it was accepted. @throws an error that is not an answer of the service. */
export async function refusalOf(request: () => Promise<unknown>): Promise<Refusal | undefined> {
  try {
    await request();
    return undefined;
  } catch (error) {
    const { name, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
    const status = $metadata?.httpStatusCode;
    if (status === undefined) throw error;
    return { status, name: name ?? 'unnamed', error };
  }
}

/**
 * Describes how `request` was refused: with one of `expected`, which are statuses or names.
 *
 * @throws ContradictionError if it was accepted, or refused in another way.
 */
export async function mustRefuse(
  what: string,
  expected: readonly (number | string)[],
  request: () => Promise<unknown>,
): Promise<string> {
  const refusal = await refusalOf(request);
  if (refusal === undefined) throw new ContradictionError(`${what} was accepted; expected ${expected.join(' or ')}`);
  const { status, name } = refusal;
  const seen = `${what}: ${status} ${name}`;
  if (expected.includes(status) || expected.includes(name)) return seen;
  throw new ContradictionError(`${seen}; expected ${expected.join(' or ')}`);
}

/** Time limit of one check. */
const CHECK_MS = 60_000;
/** Length of an observation in the report. */
const SHOWN_CHARACTERS = 500;

/** The checks of one service, with their fixture. */
export interface CheckGroup {
  readonly checks: readonly Pick<Check<never>, 'id' | 'claim'>[];
  /** One finding per check, in order, and one more if the cleanup failed. A failed check does not stop the others. */
  examine(target: Target, signal: AbortSignal): AsyncGenerator<Finding>;
}

/** @param open makes the fixture, whose disposal removes what the checks wrote; or returns the reason why all checks are skipped. */
export function checkGroup<Fixture extends AsyncDisposable>(
  name: string,
  checks: readonly Check<Fixture>[],
  open: (target: Target) => Fixture | SkipError,
  limitMs: number = CHECK_MS,
): CheckGroup {
  return {
    checks,
    async *examine(target, signal) {
      const fixture = open(target);
      try {
        for (const check of checks) {
          yield await findingOf(check, signal, limitMs, async (limit) => {
            if (target.isLocal && check.awsOnly !== undefined) {
              throw new SkipError(`not on the embedded stack: ${check.awsOnly}`);
            }
            if (fixture instanceof SkipError) throw fixture;
            return await check.run(fixture, limit);
          });
        }
      } finally {
        // Not under the signal, so that it also runs after Ctrl-C.
        const left = { id: `cleanup-${name}`, claim: 'what the checks wrote is gone' };
        const cleaned = await findingOf(left, new AbortController().signal, limitMs, async () => {
          if (!(fixture instanceof SkipError)) await fixture[Symbol.asyncDispose]();
          return 'nothing is left';
        });
        if (cleaned.verdict !== 'holds') yield cleaned;
      }
    },
  };
}

/** The result of one check, also if it throws. */
async function findingOf(
  { id, claim }: Pick<Finding, 'id' | 'claim'>,
  signal: AbortSignal,
  limitMs: number,
  observe: (limit: AbortSignal) => Promise<string>,
): Promise<Finding> {
  const startedMs = performance.now();
  const timeout = AbortSignal.timeout(limitMs);
  const finding = (verdict: Verdict, seen: string): Finding => ({
    id,
    claim,
    verdict,
    seen: seen.slice(0, SHOWN_CHARACTERS),
    durationMs: Math.round(performance.now() - startedMs),
  });
  try {
    signal.throwIfAborted();
    return finding('holds', await observe(AbortSignal.any([signal, timeout])));
  } catch (error) {
    // Interrupted: there is no result.
    signal.throwIfAborted();
    if (error instanceof SkipError) return finding('skipped', error.message);
    if (error instanceof ContradictionError) return finding('fails', error.message);
    if (timeout.aborted) return finding('fails', `timed out after ${limitMs / 1000} s`);
    return finding('fails', `no answer: ${describe(error)}`);
  }
}

/** Name, message and the innermost cause: `fetch failed` alone says nothing. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return redacted(String(error));
  let innermost: Error = error;
  for (let depth = 0; innermost.cause instanceof Error && depth < 5; depth++) innermost = innermost.cause;
  const cause = innermost === error ? '' : ` (${innermost.message})`;
  return redacted(`${error.name}: ${error.message}${cause}`);
}
