import { execFile } from 'node:child_process';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What the interop suite downloads and builds, outside of version control. */
export const INTEROP_FOLDER = fileURLToPath(new URL('../../.interop', import.meta.url));

/** The Debian package that each command is in. */
const PACKAGES = {
  'docker-registry': 'docker-registry',
  skopeo: 'skopeo',
  umoci: 'umoci',
  containerd: 'containerd',
  ctr: 'containerd',
  podman: 'podman',
  runc: 'runc',
  busybox: 'busybox-static',
  debootstrap: 'debootstrap',
  htpasswd: 'apache2-utils',
  openssl: 'openssl',
  java: 'default-jre-headless',
  mvn: 'maven',
  python3: 'python3-venv',
  cmake: 'cmake',
  make: 'make',
  'g++': 'g++',
  xz: 'xz-utils',
  git: 'git',
} as const;

export type Command = keyof typeof PACKAGES;

const INSTALL_TIMEOUT_MS = 240_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

/**
 * The commands are on this machine when this returns; those that are not are installed by apt-get, once however many test files ask.
 *
 * @throws Error saying what to install by hand, where apt-get or the right to use it is missing, or when it fails.
 */
export async function install(...commands: readonly Command[]): Promise<void> {
  const missing = commands.filter((command) => !isInstalled(command)).map((command) => PACKAGES[command]);
  if (missing.length === 0) return;
  const byHand = `install by hand: apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (!isInstalled('apt-get')) throw new Error(`the interop suite needs Debian's packages; ${byHand}`);
  if (process.getuid?.() !== 0) throw new Error(`not root, so cannot install what the interop suite needs; ${byHand}`);
  const script =
    'apt-get -q -y update && DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"';
  await oneAtATime(script, missing);
  const stillMissing = commands.filter((command) => !isInstalled(command));
  if (stillMissing.length > 0) throw new Error(`still not there after apt-get: ${stillMissing.join(', ')}; ${byHand}`);
}

/**
 * Runs the shell script while no other test process does: test files run side by side, and each installs what it needs.
 *
 * @throws Error with what the script printed.
 */
export async function oneAtATime(
  script: string,
  args: readonly string[],
  timeoutMs = 2 * INSTALL_TIMEOUT_MS,
): Promise<void> {
  mkdirSync(INTEROP_FOLDER, { recursive: true });
  const lock = join(INTEROP_FOLDER, 'install.lock');
  const command = ['-w', String(INSTALL_TIMEOUT_MS / 1000), lock, 'sh', '-c', script, 'sh', ...args];
  await run('flock', command, { timeout: timeoutMs, maxBuffer: OUTPUT_BYTES });
}

/** Whether the command is on the PATH, or where Debian keeps the administrator's. */
function isInstalled(command: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => isExecutable(join(folder, command)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // That is the answer: absent, or not for us to run.
  }
}
