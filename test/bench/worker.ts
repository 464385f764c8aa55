/*
 * A process that does one job and measures itself: `node worker.ts pull|get|get-put`. Prints `ready` once everything is loaded, reads the job
 * as one line of JSON, prints its measurement as one line of JSON and ends.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, get, request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import type { Digest } from '../../lib/oci/digest.ts';

/** One blob of a floor: from the registry, and for `get-put` to a presigned address. */
export interface Transfer {
  readonly from: string;
  readonly digest: Digest;
  readonly size: number;
  readonly to?: string;
}

export interface Job {
  /** For `pull`. */
  readonly reference?: string;
  /** For `get` and `get-put`: at most `parallel` at a time. */
  readonly transfers?: readonly Transfer[];
  readonly parallel?: number;
}

/** What one process took for its job, without its start. */
export interface Measurement {
  readonly wallMs: number;
  readonly cpuMs: number;
  /** Peak over the whole life of the process. */
  readonly peakRssBytes: number;
  readonly readyRssBytes: number;
}

const agent = new Agent({ keepAlive: true });

/** Not `resourceUsage().maxRSS`: that begins with what the parent had when it forked. */
function memory(field: 'VmHWM' | 'VmRSS'): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
}

async function openUrl(url: string): Promise<IncomingMessage> {
  const [answer] = (await once(get(url, { agent }), 'response')) as [IncomingMessage];
  if (answer.statusCode !== 200) throw new Error(`${url} answered ${answer.statusCode}`);
  return answer;
}

/** The least that a correct copy does: read, hash, compare, and for `get-put` one streamed PUT. */
async function transfer({ from, to, digest, size }: Transfer): Promise<void> {
  const source = await openUrl(from);
  const hash = createHash('sha256');
  if (to === undefined) {
    for await (const chunk of source) hash.update(chunk as Buffer);
  } else {
    const put = request(to, { method: 'PUT', agent, headers: { 'content-length': size } });
    const answered = once(put, 'response') as Promise<[IncomingMessage]>;
    source.on('data', (chunk: Buffer) => hash.update(chunk));
    const [[answer]] = await Promise.all([answered, pipeline(source, put)]);
    answer.resume();
    if (answer.statusCode !== 200) throw new Error(`PUT answered ${answer.statusCode}`);
  }
  if (`sha256:${hash.digest('hex')}` !== digest) throw new Error(`${from} has another digest than ${digest}`);
}

async function transferAll({ transfers = [], parallel = 1 }: Job): Promise<void> {
  const queue = transfers.values();
  const lane = async (): Promise<void> => {
    for (const one of queue) await transfer(one);
  };
  await Promise.all(Array.from({ length: parallel }, lane));
}

/** Loaded only where it is measured, so that the floors are without the SDK's memory. */
async function openPull(): Promise<(job: Job) => Promise<void>> {
  const [{ loadConfig }, { openServices }, { pull }, { parseReference }] = await Promise.all([
    import('../../lib/config/config.ts'),
    import('../../lib/services.ts'),
    import('../../lib/pull/pull.ts'),
    import('../../lib/reference/reference.ts'),
  ]);
  const config = loadConfig();
  if (config.store.kind !== 'aws') throw new Error('the worker needs ENTREPOT_BUCKET and ENTREPOT_TABLE');
  const services = openServices(config, config.store);
  return async ({ reference = '' }) => {
    const asked = { reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true };
    const receipt = await pull(services.pull, asked, new AbortController().signal);
    if (receipt.outcome !== 'pulled')
      throw new Error(`the pull of ${reference} was to be cold, but is a ${receipt.outcome}`);
    await services.close();
  };
}

const work = process.argv[2] === 'pull' ? await openPull() : transferAll;
console.log('ready');
const [line] = (await once(createInterface({ input: process.stdin }), 'line')) as [string];
const readyRssBytes = memory('VmRSS');
const cpu = process.cpuUsage();
const startedMs = performance.now();
await work(JSON.parse(line) as Job);
const wallMs = performance.now() - startedMs;
const { user, system } = process.cpuUsage(cpu);
const measured: Measurement = { wallMs, cpuMs: (user + system) / 1000, peakRssBytes: memory('VmHWM'), readyRssBytes };
console.log(JSON.stringify(measured));
process.exit();
