import { redacted } from '../telemetry/logger.ts';
import { ContradictionError, SkipError, type Check, type Finding, type Verdict } from './check.ts';
import type { Target } from './target.ts';

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
