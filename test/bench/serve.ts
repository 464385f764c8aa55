import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { childEnvironment, freePort, startProcess, untilListening } from '../../infra/local/processes.ts';
import { REGISTRY, type Bench } from './bench.ts';
import { LOAD_STEP_US, type Load, type LoadJob } from './load-job.ts';
import { findProgram } from './peers.ts';
import { watchProcess } from './processes.ts';
import { median, printTable, printTitle } from './table.ts';

const LOAD = fileURLToPath(new URL('load.ts', import.meta.url));
const ENTREPOT = fileURLToPath(new URL('../../lib/cli/entrepot.js', import.meta.url));
const REPOSITORY = 'bench/served';
const LAYER_BYTES = 100_000;
const CONNECTIONS = 16;
const WARM_UP_MS = 750;
const ROUND_MS = 1_500;
const START_WITHIN_MS = 20_000;
const ACCEPT = { accept: 'application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json' };

/** Who answers, and how its paths begin. */
interface Contender extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly origin: string;
  readonly base: string;
  /** Of an answer to a blob: a redirect to S3, or the bytes. */
  readonly blobStatus: number;
}

/** Answers per second of a warm cache beside Debian's docker-registry as a pull-through cache, in turns, under the same load. */
export async function serveSection(bench: Bench): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const [layer] = await bench.registry.publish({ repository: REPOSITORY, layerBytes: [LAYER_BYTES] });
  if (layer === undefined) throw new Error('the image has a layer');
  const contenders = [resources.use(await startEntrepot(bench))];
  const program = findProgram('docker-registry');
  if (program === undefined) console.log('  (docker-registry is not installed: skipped)');
  else contenders.push(resources.use(await startPullThrough(program, bench)));
  const loader = resources.use(startLoader(bench.signal));

  const { digest: manifest } = await warm(contenders, layer.digest);
  const questions = [
    { name: 'manifest by tag', path: 'manifests/v1' },
    { name: 'manifest by digest', path: `manifests/${manifest}` },
    { name: 'blob (entrepot: redirect)', path: `blobs/${layer.digest}` },
  ];
  printTitle(`A warm cache, ${CONNECTIONS} connections, ${bench.rounds} rounds of ${ROUND_MS / 1_000} s in turns`);
  const rows: string[][] = [];
  for (const { name, path } of questions) {
    const seen = await inTurns(bench, contenders, loader, path);
    const [own, peer] = contenders.map((contender) => summaryOf(seen.get(contender) ?? []));
    rows.push(...[own, peer].flatMap((one, i) => (one === undefined ? [] : [[name, ...rowOf(contenders[i], one)]])));
    if (own !== undefined && peer !== undefined) {
      const ratio = (own.perSecond / peer.perSecond).toFixed(2);
      rows.push([
        name,
        '→ entrepot / docker-registry',
        `× ${ratio}`,
        '',
        `p99 / its p50: ${(own.p99Ms / peer.p50Ms).toFixed(2)}`,
      ]);
    }
  }
  printTable(['', '', 'requests/s', 'p50 ms', 'p99 ms', 'errors', 'CPU ms/request'], rows);
}

interface Seen extends Load {
  readonly cpuMs: number;
}

async function inTurns(
  { rounds }: Bench,
  contenders: readonly Contender[],
  loader: Loader,
  path: string,
): Promise<ReadonlyMap<Contender, readonly Seen[]>> {
  const seen = new Map<Contender, Seen[]>(contenders.map((contender) => [contender, []]));
  for (let round = -1; round < rounds; round++) {
    for (const contender of contenders) {
      const { origin, base, blobStatus, pid } = contender;
      const status = path.startsWith('blobs/') ? blobStatus : 200;
      const forMs = round < 0 ? WARM_UP_MS : ROUND_MS;
      const job = { origin, path: `${base}/${path}`, headers: ACCEPT, status, connections: CONNECTIONS, forMs };
      const watch = watchProcess(pid);
      const load = await loader.run(job);
      const { cpuMs } = watch();
      if (round >= 0) seen.get(contender)?.push({ ...load, cpuMs });
    }
  }
  return seen;
}

interface Summary {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
  readonly cpuMs: number;
}

/** Medians of the rounds; of the times, all rounds together. */
function summaryOf(rounds: readonly Seen[]): Summary {
  const counts = rounds.flatMap((one) => one.counts).sort(([a], [b]) => a - b);
  const requests = counts.reduce((sum, [, count]) => sum + count, 0);
  const quantile = (share: number): number => {
    let passed = 0;
    const found = counts.find(([, count]) => (passed += count) >= requests * share);
    return ((found?.[0] ?? NaN) * LOAD_STEP_US) / 1_000;
  };
  return {
    perSecond: median(rounds.map((one) => (one.requests / one.wallMs) * 1_000)),
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    errors: rounds.reduce((sum, one) => sum + one.errors, 0),
    cpuMs: median(rounds.map((one) => one.cpuMs / one.requests)),
  };
}

const rowOf = (contender: Contender | undefined, { perSecond, p50Ms, p99Ms, errors, cpuMs }: Summary): string[] => [
  contender?.name ?? '',
  perSecond.toFixed(0),
  p50Ms.toFixed(2),
  p99Ms.toFixed(2),
  String(errors),
  cpuMs.toFixed(3),
];

/** Everything is there afterwards; the digest of the manifest. */
async function warm(contenders: readonly Contender[], layer: string): Promise<{ digest: string }> {
  let digest = '';
  for (const { origin, base } of contenders) {
    const answer = await fetch(`${origin}${base}/manifests/v1`, { headers: ACCEPT });
    await answer.arrayBuffer();
    digest = answer.headers.get('docker-content-digest') ?? '';
    const blob = await fetch(`${origin}${base}/blobs/${layer}`);
    const { byteLength } = await blob.arrayBuffer();
    if (!answer.ok || byteLength !== LAYER_BYTES) throw new Error(`${origin} answers ${answer.status}, ${blob.status}`);
  }
  // What is left of the pull.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  return { digest };
}

async function startEntrepot({ stack, registry }: Bench): Promise<Contender> {
  return await inFolder(async (folder) => {
    const config = join(folder, 'entrepot.yaml');
    const registries = { [REGISTRY]: { endpoint: registry.origin, credentials: 'none', public: true } };
    await writeFile(config, stringify({ registries }));
    const port = await freePort();
    const server = startProcess([process.execPath, ENTREPOT, 'serve', '--port', String(port)], 'ignore', {
      ...stack.environment,
      ENTREPOT_CONFIG: config,
      DOCKER_CONFIG: folder,
    });
    await untilListening(port, server, START_WITHIN_MS);
    const place = { origin: `http://127.0.0.1:${port}`, base: `/v2/${REGISTRY}/${REPOSITORY}`, blobStatus: 307 };
    return { contender: { name: 'entrepot serve', pid: server.pid, ...place }, stop: () => server.stop() };
  });
}

async function startPullThrough(program: string, { registry }: Bench): Promise<Contender> {
  return await inFolder(async (folder) => {
    const port = await freePort();
    const config = {
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      // As its own example configuration has it.
      storage: { filesystem: { rootdirectory: join(folder, 'data') }, cache: { blobdescriptor: 'inmemory' } },
      http: { addr: `127.0.0.1:${port}` },
      proxy: { remoteurl: registry.origin },
    };
    const file = join(folder, 'config.yml');
    await writeFile(file, stringify(config));
    const server = startProcess([program, 'serve', file], 'ignore');
    await untilListening(port, server, START_WITHIN_MS);
    const place = { origin: `http://127.0.0.1:${port}`, base: `/v2/${REPOSITORY}`, blobStatus: 200 };
    return { contender: { name: 'docker-registry, proxy', pid: server.pid, ...place }, stop: () => server.stop() };
  });
}

/** What was started in a folder of its own, which goes with it. */
async function inFolder(
  start: (
    folder: string,
  ) => Promise<{ contender: Omit<Contender, typeof Symbol.asyncDispose>; stop: () => Promise<unknown> }>,
): Promise<Contender> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-bench-serve-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const { contender, stop } = await start(folder);
    const killWithUs = (): void => void process.kill(contender.pid, 'SIGKILL');
    process.once('exit', killWithUs);
    return {
      ...contender,
      async [Symbol.asyncDispose]() {
        process.off('exit', killWithUs);
        await stop();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

interface Loader extends AsyncDisposable {
  run(job: LoadJob): Promise<Load>;
}

/** In a process of its own. */
function startLoader(signal: AbortSignal): Loader {
  const child = spawn(process.execPath, [LOAD], {
    env: childEnvironment(),
    stdio: ['pipe', 'pipe', 'inherit'],
    signal,
  });
  const exited = once(child, 'exit').catch(() => undefined); // Fails when the signal fires.
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async run(job) {
      child.stdin.write(`${JSON.stringify(job)}\n`);
      const line = await lines.next();
      if (line.done === true) throw new Error('the load ended before its answer; its words are above');
      return JSON.parse(line.value) as Load;
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await exited;
    },
  };
}
