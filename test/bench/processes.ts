import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../../infra/local/processes.ts';
import type { NoiseImageRequest, NoiseLayer } from './noise-registry.ts';
import type { Job, Measurement } from './worker.ts';

const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url));
const REGISTRY = fileURLToPath(new URL('noise-registry.ts', import.meta.url));
const SAMPLE_EVERY_MS = 20;
/** Of /proc/<pid>/stat; fixed by the kernel's interface. */
const CLOCK_TICK_MS = 10;

export type WorkerKind = 'pull' | 'get' | 'get-put';

/** Does the job in a process of its own. */
export async function measure(
  kind: WorkerKind,
  job: Job,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Measurement> {
  const child = spawn(process.execPath, [WORKER, kind], {
    env: { ...childEnvironment(), ...environment },
    stdio: ['pipe', 'pipe', 'inherit'],
    signal,
    killSignal: 'SIGKILL',
  });
  const exited = once(child, 'exit');
  exited.catch(() => undefined); // Fails when the signal fires; awaited below.
  child.stdin.on('error', () => undefined); // A killed child closes its end; its exit says so.
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  child.stdin.write(`${JSON.stringify(job)}\n`);
  const answer = await lines.next();
  await exited;
  if (answer.done === true) throw new Error(`the measured process (${kind}) failed; its words are above`);
  return JSON.parse(answer.value) as Measurement;
}

/** Runs a command to its end, measured from outside: CPU and memory are sampled, so the last few milliseconds may be missing. */
export async function measureCommand(file: string, args: readonly string[], signal: AbortSignal): Promise<Measurement> {
  const startedMs = performance.now();
  const child = spawn(file, args, { env: childEnvironment(), stdio: ['ignore', 'ignore', 'pipe'], signal });
  const watch = watchProcess(child.pid ?? 0);
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-2_000)));
  const [code] = (await once(child, 'exit')) as [number | null];
  const wallMs = performance.now() - startedMs;
  const usage = watch();
  if (code !== 0) throw new Error(`${file} failed: ${words}`);
  return { wallMs, ...usage };
}

/** Samples another process; the returned function ends that and gives what was seen. */
export function watchProcess(pid: number): () => Omit<Measurement, 'wallMs'> {
  const start = sample(pid);
  let last = start;
  const timer = setInterval(() => (last = sample(pid) ?? last), SAMPLE_EVERY_MS);
  return () => {
    clearInterval(timer);
    last = sample(pid) ?? last;
    return {
      cpuMs: (last?.cpuMs ?? 0) - (start?.cpuMs ?? 0),
      peakRssBytes: last?.peakRssBytes ?? 0,
      readyRssBytes: start?.peakRssBytes ?? 0,
    };
  };
}

function sample(pid: number): { cpuMs: number; peakRssBytes: number } | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const peak = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
    if (peak === undefined) return undefined; // A zombie has no memory any more.
    // Fields 14 and 15; the command, field 2, is in brackets and may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { cpuMs: (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS, peakRssBytes: Number(peak) * 1024 };
  } catch {
    return undefined; // It ended between two looks.
  }
}

/** The registry of noise, in a process of its own. */
export interface NoiseRegistry extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  /** Makes an image readable under `<repository>:v1`. */
  publish(image: NoiseImageRequest): Promise<readonly NoiseLayer[]>;
}

export async function startNoiseRegistry(signal: AbortSignal): Promise<NoiseRegistry> {
  const child = spawn(process.execPath, [REGISTRY], { env: childEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const killWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', killWithUs);
  const [origin] = (await once(createInterface({ input: child.stdout }), 'line', { signal })) as [string];
  return {
    origin,
    publish: async (image) => {
      const answer = await fetch(`${origin}/images`, { method: 'POST', body: JSON.stringify(image), signal });
      return (await answer.json()) as NoiseLayer[];
    },
    async [Symbol.asyncDispose]() {
      process.off('exit', killWithUs);
      child.kill('SIGKILL');
      await exited;
    },
  };
}
