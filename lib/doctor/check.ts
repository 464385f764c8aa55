import { redacted } from '../telemetry/logger.ts';
import type { Target } from './target.ts';

/**
 * One behaviour of AWS that the code relies on, looked for in a deployment. Its id is that of a line of docs/aws-assumptions.md.
 *
 * `Scene` is what the checks of one service share.
 */
export interface Check<Scene> {
  readonly id: string;
  /** What must hold, in a few words. */
  readonly claim: string;
  /** Why the embedded stack has nothing of the kind: there the check is skipped. */
  readonly awsOnly?: string;
  /**
   * Says what was seen, where the behaviour is there.
   *
   * @throws ContradictionError where it is not; SkipError where it cannot be told; anything else where no answer was had.
   */
  run(scene: Scene, signal: AbortSignal): Promise<string>;
}

/** Something else was seen than what the code relies on. */
export class ContradictionError extends Error {
  override readonly name = 'ContradictionError';
}

/** It cannot be told here and now; the message says why. */
export class SkipError extends Error {
  override readonly name = 'SkipError';
}

export type Verdict = 'holds' | 'fails' | 'skipped';

/** What came of one check. */
export interface Finding {
  readonly id: string;
  readonly claim: string;
  readonly verdict: Verdict;
  /** What was seen; of a skipped check why. */
  readonly seen: string;
  readonly durationMs: number;
}

/** @throws ContradictionError saying what was seen, unless it is so. */
export function must(isSo: boolean, seen: string): asserts isSo {
  if (!isSo) throw new ContradictionError(seen);
}

/** How a service refused a request. */
export interface Refusal {
  readonly status: number;
  /** Its name of the error: `PreconditionFailed`. */
  readonly name: string;
  readonly error: unknown;
}

/** How the service refused `request`; undefined where it did what was asked. @throws whatever is no answer of the service. */
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
 * Says how `request` was refused: with one of `expected`, statuses or names.
 *
 * @throws ContradictionError where it was accepted, or refused in another way.
 */
export async function mustRefuse(
  what: string,
  expected: readonly (number | string)[],
  request: () => Promise<unknown>,
): Promise<string> {
  const refusal = await refusalOf(request);
  if (refusal === undefined) throw new ContradictionError(`${what} was accepted; expected ${expected.join(' or ')}`);
  const { status, name } = refusal;
  const told = `${what}: ${status} ${name}`;
  if (expected.includes(status) || expected.includes(name)) return told;
  throw new ContradictionError(`${told}; expected ${expected.join(' or ')}`);
}

/** Of one check. */
const CHECK_MS = 60_000;
/** Of what is known of a failure, in the report. */
const SHOWN_CHARACTERS = 500;

/** The checks of one service, with what they share. */
export interface CheckGroup {
  readonly checks: readonly Pick<Check<never>, 'id' | 'claim'>[];
  /** One finding for each check, in order; one more where what the checks left could not be taken away. One that fails does not stop the others. */
  examine(target: Target, signal: AbortSignal): AsyncGenerator<Finding>;
}

/** @param open gives what the checks share, or the reason why none of them can be told; its disposal takes away what the checks left. */
export function checkGroup<Scene extends AsyncDisposable>(
  name: string,
  checks: readonly Check<Scene>[],
  open: (target: Target) => Scene | SkipError,
  limitMs: number = CHECK_MS,
): CheckGroup {
  return {
    checks,
    async *examine(target, signal) {
      const scene = open(target);
      try {
        for (const check of checks) {
          yield await findingOf(check, signal, limitMs, async (limit) => {
            if (target.isLocal && check.awsOnly !== undefined) {
              throw new SkipError(`not on the embedded stack: ${check.awsOnly}`);
            }
            if (scene instanceof SkipError) throw scene;
            return await check.run(scene, limit);
          });
        }
      } finally {
        // Also after Ctrl-C: so not under the signal.
        const left = { id: `cleanup-${name}`, claim: 'what the checks wrote is gone' };
        const cleaned = await findingOf(left, new AbortController().signal, limitMs, async () => {
          if (!(scene instanceof SkipError)) await scene[Symbol.asyncDispose]();
          return 'nothing is left';
        });
        if (cleaned.verdict !== 'holds') yield cleaned;
      }
    },
  };
}

/** What comes of one check, whatever it throws. */
async function findingOf(
  { id, claim }: Pick<Finding, 'id' | 'claim'>,
  signal: AbortSignal,
  limitMs: number,
  look: (limit: AbortSignal) => Promise<string>,
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
    return finding('holds', await look(AbortSignal.any([signal, timeout])));
  } catch (error) {
    // Interrupted: nothing was found out, and nobody waits for the rest.
    signal.throwIfAborted();
    if (error instanceof SkipError) return finding('skipped', error.message);
    if (error instanceof ContradictionError) return finding('fails', error.message);
    if (timeout.aborted) return finding('fails', `no end within ${limitMs / 1000} s`);
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
