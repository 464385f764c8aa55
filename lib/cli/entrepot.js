#!/usr/bin/env node
// Runs main.ts on Node 24, whatever Node started this file. JavaScript, and old enough for Node 20, for that reason.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEEDED_MAJOR = 24;
const main = fileURLToPath(new URL('main.ts', import.meta.url));

/** Node 24 from the npm package for this machine, which `npm ci` installed. */
function packagedNode() {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin', 'node');
  } catch {
    return undefined; // No such package for this machine, or installed without optional dependencies: told below.
  }
}

function runWith(node) {
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
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

if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) {
  const { main: run } = await import('./main.ts');
  await run(process.argv.slice(2));
} else {
  const node = packagedNode();
  if (node === undefined) {
    console.error(
      `entrepot: needs Node ${NEEDED_MAJOR} or newer, this is ${process.version}, and no node-${process.platform}-${process.arch} package is installed; ` +
        `run it with Node ${NEEDED_MAJOR}, or run npm ci without --omit=optional`,
    );
    process.exitCode = 1;
  } else {
    runWith(node);
  }
}
