import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { stringify } from 'yaml';
import { freePort, startProcess, untilListening } from '../../infra/local/processes.ts';
import type { Bench } from './bench.ts';
import type { NoiseLayer } from './noise-registry.ts';
import { measure, measureCommand, watchProcess } from './processes.ts';
import type { Measurement } from './worker.ts';

interface PeerImage {
  readonly repository: string;
  readonly layers: readonly NoiseLayer[];
}

const START_WITHIN_MS = 10_000;
const PARALLEL_BLOBS = 4;

/** Other programs that copy an image, where they are installed; says which are not. */
export function peers(bench: Bench, image: PeerImage): { name: string; run: () => Promise<Measurement> }[] {
  const all = [
    { program: 'skopeo', name: 'skopeo copy to an OCI layout', run: runSkopeo },
    { program: 'docker-registry', name: 'docker-registry pull-through', run: runPullThrough },
  ];
  return all.flatMap(({ program, name, run }) => {
    const file = findProgram(program);
    if (file !== undefined) return [{ name, run: () => run(file, bench, image) }];
    console.log(`  (${program} is not installed: skipped)`);
    return [];
  });
}

/** Where the program is on the PATH. */
export function findProgram(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-bench-peer-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const runSkopeo = (file: string, { registry, signal }: Bench, { repository }: PeerImage): Promise<Measurement> =>
  inFolder(async (folder) => {
    const source = `docker://${new URL(registry.origin).host}/${repository}:v1`;
    const options = ['--insecure-policy', '--tmpdir', folder, 'copy', '--preserve-digests', '--src-tls-verify=false'];
    return await measureCommand(file, [...options, source, `oci:${join(folder, 'layout')}:v1`], signal);
  });

/** A client's cold read of all layers through the peer; CPU and memory are the peer's. */
const runPullThrough = (file: string, bench: Bench, { repository, layers }: PeerImage): Promise<Measurement> =>
  inFolder(async (folder) => {
    const port = await freePort();
    const config = {
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(folder, 'data') } },
      http: { addr: `127.0.0.1:${port}` },
      proxy: { remoteurl: bench.registry.origin },
    };
    const path = join(folder, 'config.yml');
    await writeFile(path, stringify(config));
    const peer = startProcess([file, 'serve', path], 'ignore');
    try {
      await untilListening(port, peer, START_WITHIN_MS);
      const transfers = layers.map(({ digest, size }) => ({
        digest,
        size,
        from: `http://127.0.0.1:${port}/v2/${repository}/blobs/${digest}`,
      }));
      const watch = watchProcess(peer.pid);
      const { wallMs } = await measure('get', { transfers, parallel: PARALLEL_BLOBS }, {}, bench.signal);
      return { wallMs, ...watch() };
    } finally {
      await peer.stop();
    }
  });
