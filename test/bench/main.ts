/*
 * npm run bench [-- SECTION...] [-- --rounds N]
 *
 * Sections: blob, cold-start, layers, memory, requests, serve; all without any. Machines are noisy: only ratios within one run, counts, bytes and peak memory mean
 * anything, which is why each figure stands beside its floor.
 */
import { parseArgs } from 'node:util';
import type { Bench } from './bench.ts';
import { coldStartSection } from './cold-start.ts';
import { copySection, memorySection } from './copy.ts';
import { startNoiseRegistry } from './processes.ts';
import { requestsSection } from './requests.ts';
import { serveSection } from './serve.ts';
import { startSeparateStack } from './stack.ts';

const RUN_WITHIN_MS = 300_000;
const GIB = 1024 ** 3;
const LAYERS = 40;
const LAYER_BYTES = 5_000_000;

const SECTIONS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  requests: requestsSection,
  serve: serveSection,
  'cold-start': coldStartSection,
  memory: memorySection,
  layers: (bench) =>
    copySection(bench, `${LAYERS} layers of 5 MB, 4 at a time`, new Array<number>(LAYERS).fill(LAYER_BYTES)),
  blob: (bench) => copySection(bench, 'One layer of 1 GiB', [GIB]),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '3' } },
});
const rounds = Number(values.rounds);
const unknown = positionals.filter((name) => !(name in SECTIONS));
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`usage: npm run bench [-- ${Object.keys(SECTIONS).join('|')}...] [--rounds N]`);
  process.exit(2);
}
if (process.platform !== 'linux') {
  console.error('the bench reads peak memory from /proc: it needs Linux');
  process.exit(2);
}

const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));
process.once('SIGTERM', () => interrupted.abort(new Error('interrupted')));
const signal = AbortSignal.any([interrupted.signal, AbortSignal.timeout(RUN_WITHIN_MS)]);

const startedMs = performance.now();
try {
  await using stack = await startSeparateStack(signal);
  await using registry = await startNoiseRegistry(signal);
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (positionals.length === 0 || positionals.includes(name)) await section({ stack, registry, rounds, signal });
  }
  console.log(`\n${((performance.now() - startedMs) / 1000).toFixed(0)} s in all`);
} catch (error) {
  if (!signal.aborted) throw error;
  console.error(`stopped: ${(signal.reason as Error).message}`);
  process.exitCode = 1;
}
