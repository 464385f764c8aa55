import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** Polls every `everyMs` until the condition holds; fails the test after `withinMs`. */
export async function until(isSo: () => boolean | Promise<boolean>, withinMs = 15_000, everyMs = 10): Promise<void> {
  const start = performance.now();
  while (!(await isSo())) {
    if (performance.now() - start > withinMs) assert.fail(`it did not happen within ${withinMs} ms`);
    await sleep(everyMs);
  }
}

/** Whether there is a process with this pid that is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH: gone.
  }
}
