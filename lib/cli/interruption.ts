import { DeadlineError } from '../errors/cache-error.ts';

export interface Interruption extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * One Ctrl-C can arrive several times: from the terminal, and again from npm or a shell.
 * A signal within this time of the first one is the same Ctrl-C.
 */
const ECHO_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Fires on the first SIGINT or SIGTERM, so that work can end cleanly; the next one ends the process at once. */
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
