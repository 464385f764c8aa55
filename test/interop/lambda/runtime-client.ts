import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { install, INTEROP_FOLDER, oneAtATime } from '../install.ts';

/** AWS's own runtime interface client, as it is in the images of Lambda for Node. */
const VERSION = '4.0.2';

/**
 * The command that runs AWS's runtime interface client: it asks the Runtime API for events and calls the handler. Installed by npm where it is not there
 * yet; its native part compiles for half a minute.
 *
 * @throws Error when it cannot be installed.
 */
export async function runtimeClient(): Promise<readonly string[]> {
  await install('cmake', 'make', 'g++', 'xz', 'python3');
  const folder = join(INTEROP_FOLDER, 'aws-lambda-ric');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), PACKAGE);
  const node = dirname(process.execPath);
  // Node from an npm package brings its headers along; for another one node-gyp would download them.
  const headers = dirname(node);
  const nodedir = existsSync(join(headers, 'include', 'node', 'node_api.h')) ? headers : '';
  // The test runner takes NODE_EXTRA_CA_CERTS away; machines behind a proxy of their own have its certificate among the system's.
  // The rename comes last, so that a folder that is there is whole.
  const script = `[ -d "$1/$2" ] || {
    rm -rf "$1/incoming" && mkdir "$1/incoming" && cp "$1/package.json" "$1/incoming/" && cd "$1/incoming" &&
    PATH="$3:$PATH" npm_config_nodedir="$4" NODE_OPTIONS=--use-system-ca npm install --no-package-lock --no-audit --no-fund &&
    [ -f node_modules/aws-lambda-ric/rapid-client.node ] &&
    mv "$1/incoming" "$1/$2"
  }`;
  await oneAtATime(script, [folder, VERSION, node, nodedir]);
  return [process.execPath, join(folder, VERSION, 'node_modules', 'aws-lambda-ric', 'index.mjs')];
}

const PACKAGE = `${JSON.stringify({
  private: true,
  dependencies: { 'aws-lambda-ric': VERSION },
  // npm asks from version 12 on.
  allowScripts: { 'aws-lambda-ric': true },
})}\n`;
