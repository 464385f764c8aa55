/*
 * A machine with only what every platform has: no /proc, no process groups and sessions, and signals as on Windows: SIGINT, SIGTERM and
 * SIGKILL end a process at once, and there are no others. For this process and every Node process below it.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const FATAL = ['SIGINT', 'SIGTERM', 'SIGKILL'];
const PRELOAD = new URL('elsewhere-preload.ts', import.meta.url).href;
/** The functions of `fs` whose first argument is a path. */
const READERS = ['readFileSync', 'readdirSync', 'openSync', 'statSync', 'existsSync', 'readlinkSync'] as const;

/** Removes these features until disposed. */
export function elsewhere(): Disposable {
  const { spawn } = childProcess;
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const { kill: killChild } = childProcess.ChildProcess.prototype;
  const killAny = process.kill.bind(process);
  const readers = READERS.map((name) => [name, fs[name]] as const);

  const changed: { -readonly [name in keyof typeof childProcess]?: unknown } = childProcess;
  changed.spawn = (file: string, args: readonly string[], { detached: _, ...options }: childProcess.SpawnOptions) =>
    spawn(file, file === process.execPath ? ['--import', PRELOAD, ...args] : args, options);
  childProcess.ChildProcess.prototype.kill = function (signal = 'SIGTERM') {
    return killChild.call(this, fatal(signal));
  };
  process.kill = (pid: number, signal: NodeJS.Signals | 0 = 'SIGTERM') => {
    if (pid <= 0) throw unknown(`process group ${-pid}`);
    return killAny(pid, signal === 0 ? 0 : fatal(signal));
  };
  for (const [name, read] of readers) {
    Object.assign(fs, {
      [name]: (path: unknown, ...rest: unknown[]): unknown => {
        if (typeof path === 'string' && path.startsWith('/proc')) throw unknown(path);
        return Reflect.apply(read, fs, [path, ...rest]);
      },
    });
  }
  syncBuiltinESMExports();
  return {
    [Symbol.dispose]: () => {
      changed.spawn = spawn;
      childProcess.ChildProcess.prototype.kill = killChild;
      process.kill = killAny;
      Object.assign(fs, Object.fromEntries(readers));
      syncBuiltinESMExports();
    },
  };
}

function fatal(signal: NodeJS.Signals | number): 'SIGKILL' {
  if (typeof signal === 'string' && FATAL.includes(signal)) return 'SIGKILL';
  throw unknown(`signal ${signal}`);
}

const unknown = (what: string): Error => Object.assign(new Error(`there is no ${what} here`), { code: 'ENOSYS' });
