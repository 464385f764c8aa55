/*
 * Preloaded into the process of each test file: kills it where it runs far longer than any file takes. Node's own timeout ends neither a busy loop nor
 * a process that something keeps open, and waits for it without end. A thread of its own, so that it comes through while the tests block theirs.
 */
import { Worker } from 'node:worker_threads';

const file = process.argv[1] ?? 'a test file';
/** Twice what the slowest process takes on a slow machine. */
const minutes = file.endsWith('.heavy.test.ts') ? 30 : 12;

const program = `
  setTimeout(() => {
    require('node:fs').writeSync(2, ${JSON.stringify(`${file} did not end within ${minutes} minutes, and is killed\n`)});
    process.kill(process.pid, 'SIGKILL');
  }, ${minutes * 60_000});
`;
new Worker(program, { eval: true }).unref();
