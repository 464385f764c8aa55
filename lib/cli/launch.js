// Runs a program of this folder on Node 24, also if an older Node started it. Therefore JavaScript that Node 20 understands.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Major and minor version. */
const NEEDED = [24, 2];

/** Where Node 24 for this machine is, in the npm package that `npm ci` installs; undefined where there is none. */
function packagedNode() {
  const isWindows = process.platform === 'win32';
  const name = `node-${isWindows ? 'win' : process.platform}-${process.arch}`;
  try {
    const folder = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
    return join(folder, 'bin', isWindows ? 'node.exe' : 'node');
  } catch {
    return undefined; // No such package for this machine, or installed without optional dependencies.
  }
}

function isNewEnough() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]);
}

/** The path of a Node that can run this project; undefined: the current one can. @throws Error that says what to do if there is none */
export function findNode() {
  if (isNewEnough()) return undefined;
  const node = packagedNode();
  if (node !== undefined) return node;
  throw new Error(
    `entrepot: needs Node ${NEEDED.join('.')} or newer, this is ${process.version}, and npm ci installed none for ` +
      `${process.platform}-${process.arch}: start npm and entrepot with Node ${NEEDED.join('.')} or newer`,
  );
}

function runWith(node, file) {
  const child = spawn(node, [file, ...process.argv.slice(2)], { stdio: 'inherit' });
  // On Windows a Ctrl-C reaches every process of the console, and a signal from us would end the child at once.
  const forward = (signal) => process.platform !== 'win32' && child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward);
  child.once('error', (error) => {
    console.error(`entrepot: cannot start ${node}: ${error.message}`);
    process.exitCode = 1;
  });
  child.once('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code;
      return;
    }
    // Ended by a signal: end by the same one, so that our parent sees it.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** Calls `main` of the module `name` with the arguments of this process. */
export async function launch(name) {
  const module = new URL(name, import.meta.url);
  let node;
  try {
    node = findNode();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
    return;
  }
  if (node === undefined) {
    // Exit at once when all work is done: the cleanup of Node 24 can loop forever over a handle that was never closed (Environment::CleanupHandles).
    process.once('beforeExit', () => process.once('exit', () => process.exit()));
    const { main } = await import(module.href);
    await main(process.argv.slice(2));
  } else {
    runWith(node, fileURLToPath(module));
  }
}
