import { DeadlineError } from '../errors/cache-error.ts';

export interface Interruption extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * npm and shells pass one Ctrl-C on to us several times: by the terminal's process group, and once more by themselves.
 * What comes this soon after the first signal is still the first.
 */
const ECHO_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Fires on the first SIGINT or SIGTERM, so that work can end cleanly; the next one ends the process as if nobody had listened. */
export function listenForInterruption(): Interruption {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) return;
    controller.abort(new DeadlineError(`interrupted by ${signal}`));
    setTimeout(stopListening, ECHO_MS).unref();
  };
  const stopListening = (): void => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return { signal: controller.signal, [Symbol.dispose]: stopListening };
}
