// Runs a program of this folder on Node 24, whatever Node started it. JavaScript, and old enough for Node 20, for that reason.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEEDED_MAJOR = 24;

/** Node 24 from the npm package for this machine, which `npm ci` installed. */
function packagedNode() {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin', 'node');
  } catch {
    return undefined; // No such package for this machine, or installed without optional dependencies: told below.
  }
}

function runWith(node, file) {
  const child = spawn(node, [file, ...process.argv.slice(2)], { stdio: 'inherit' });
  const forward = (signal) => child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, forward);
  child.once('error', (error) => {
    console.error(`entrepot: cannot start ${node}: ${error.message}`);
    process.exitCode = 1;
  });
  child.once('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code;
      return;
    }
    // Ended by a signal: end in the same way, so that whoever waits for us sees it.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** Calls `main` of the module `name` with the arguments of this process. */
export async function launch(name) {
  const module = new URL(name, import.meta.url);
  if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) {
    const { main } = await import(module.href);
    await main(process.argv.slice(2));
    return;
  }
  const node = packagedNode();
  if (node === undefined) {
    console.error(
      `entrepot: needs Node ${NEEDED_MAJOR} or newer, this is ${process.version}, and no node-${process.platform}-${process.arch} package is installed; ` +
        `run it with Node ${NEEDED_MAJOR}, or run npm ci without --omit=optional`,
    );
    process.exitCode = 1;
  } else {
    runWith(node, fileURLToPath(module));
  }
}
