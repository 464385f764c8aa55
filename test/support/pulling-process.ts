import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../infra/local/processes.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import type { StoreConnection } from '../../lib/services.ts';
import type { ChildRequest } from './pull-child.ts';

const CHILD = fileURLToPath(new URL('pull-child.ts', import.meta.url));

/** `error` where the pull failed. */
export type ChildAnswer =
  (Receipt & { readonly error?: never }) | { readonly error: { readonly name: string; readonly message: string } };

/** A process that pulls on request. */
export interface PullingProcess extends AsyncDisposable {
  /** The answers, one for each time; none where the process died first. */
  pull(request: ChildRequest): Promise<readonly ChildAnswer[]>;
  /** SIGKILL; resolves when it is dead. */
  kill(): Promise<void>;
}

/** Starts the process and waits until it is ready to pull. */
export async function startPullingProcess(
  environment: Readonly<Record<string, string>>,
  otherwise: Partial<StoreConnection> = {},
): Promise<PullingProcess> {
  const child = spawn(process.execPath, [CHILD, JSON.stringify(otherwise)], {
    env: { ...childEnvironment(), ...environment },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => undefined); // A killed child closes its end; its exit is reported.
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done === true) throw new Error('the pulling process ended before it was ready');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  return {
    async pull(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const line = await lines.next();
      return line.done === true ? [] : (JSON.parse(line.value) as ChildAnswer[]);
    },
    kill,
    [Symbol.asyncDispose]: kill,
  };
}
