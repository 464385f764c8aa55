/*
 * Runs a program that is not ours as long as the process that started us lives: `node keeper.ts COMMAND...`, with a channel to that process.
 * It reports the program's pid, and ends with the program. When the channel closes, the program is ended first.
 */
import { spawn } from 'node:child_process';

/** Shorter than the grace period of the process that waits for our end. */
const STOP_GRACE_MS = 2_000;

const [file = '', ...args] = process.argv.slice(2);
const program = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'], windowsHide: true });
program.once('error', (error) => {
  console.error(`cannot start ${file}: ${error.message}`);
  process.exit(1);
});
program.once('exit', (code) => process.exit(code ?? 1));
process.once('exit', () => program.kill('SIGKILL')); // For any other end of this process.

let isStopping = false;
function stop(): void {
  if (isStopping) return;
  isStopping = true;
  program.kill('SIGTERM');
  setTimeout(() => program.kill('SIGKILL'), STOP_GRACE_MS);
}
process.once('disconnect', stop);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, stop);

// The parent may have ended before the listeners above were set.
if (!process.connected) stop();
// If it cannot be sent, the channel closes, which ends this process.
else process.send?.(program.pid, undefined, undefined, () => undefined);
