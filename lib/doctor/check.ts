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
