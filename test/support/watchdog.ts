/*
 * Preloaded into the process of each test file: kills it and its children if it runs far too long. Node's own timeout ends neither a busy loop nor a
 * process that something keeps open, and waits for children that hold the output of the file. A thread of its own, because the tests may block theirs.
 */
import hooks from 'node:async_hooks';
import { Worker } from 'node:worker_threads';

const file = process.argv[1] ?? 'a test file';
/** Twice the time of the slowest process on a slow machine. */
const minutes = file.endsWith('.heavy.test.ts') ? 30 : 12;

const program = `
  const { execFileSync } = require('node:child_process');
  const kill = (pid) => {
    try { process.kill(pid, 'SIGKILL'); } catch { /* It has ended. */ }
  };
  /** Children first, so that none is left without its parent before it is found. */
  const descendants = (pid) => {
    let processes = [];
    try {
      processes = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\\n').map((line) => line.trim().split(/ +/).map(Number));
    } catch { /* No such program here: then only the file itself ends. */ }
    const below = (parent) => processes.filter(([, of]) => of === parent).flatMap(([child]) => [...below(child), child]);
    return below(pid);
  };
  setTimeout(() => {
    require('node:fs').writeSync(2, ${JSON.stringify(`${file} did not end within ${minutes} minutes, and is killed\n`)});
    for (const child of descendants(process.pid)) kill(child);
    kill(process.pid);
  }, ${minutes * 60_000});
`;
new Worker(program, { eval: true }).unref();

/*
 * Node's runner, which is loaded after this, follows each promise to know whose error escapes: a tenth of what these tests cost. Without it such an error fails
 * its file instead of its test.
 */
const { createHook } = hooks;
hooks.createHook = (callbacks) => createHook({ ...callbacks, trackPromises: false });

// All is done and printed here. Node 24 may spin for ever in its clean-up if a handle was never closed (Environment::CleanupHandles).
process.once('beforeExit', () => process.once('exit', () => process.exit()));
