/*
 * Counts what each piece of work asks of AWS, with the real state machine and tasks on the embedded stack, and writes infra/cost/counts.json: the first
 * half of `npm run cost`. Refused and repeated requests of a run are counted as they come; so a figure may differ by one or two between runs.
 */
import { writeFile } from 'node:fs/promises';
import type { Counts, Requests } from '../../infra/cost/counts.ts';
import { alarms } from '../../infra/resources/alarms.ts';
import { sampleImage } from '../../infra/local/sample/sample-image.ts';
import { stackSettings } from '../../infra/settings.ts';
import type { MetricName } from '../../lib/telemetry/telemetry.ts';
import { noiseImage, type Image } from '../support/images.ts';
import { startCostBench, type CostBench } from './cost-bench.ts';

const COUNTS = new URL('../../infra/cost/counts.json', import.meta.url);
const RUN_WITHIN_MS = 120_000;
const MIB = 1024 * 1024;
const PARTS = 8 * MIB;
const FEW = 4;
const MANY = 14;

const METRICS: Record<MetricName, true> = {
  Hits: true,
  Misses: true,
  BytesCopied: true,
  BytesSaved: true,
  RegistryRequests: true,
  RateLimited: true,
  LeaseWaits: true,
  FillMilliseconds: true,
  PullsFailed: true,
  CredentialsRejected: true,
  OldestRunningPullSeconds: true,
};

const signal = AbortSignal.timeout(RUN_WITHIN_MS);
await using bench = await startCostBench();

/** (many - few), for one of what they differ by. */
function difference(many: Requests, few: Requests, by: number): Requests {
  const one = (figure: Exclude<keyof Requests, 'invocations'>): number => rounded((many[figure] - few[figure]) / by);
  return {
    dynamoDbRequests: one('dynamoDbRequests'),
    readUnits: one('readUnits'),
    writeUnits: one('writeUnits'),
    s3Writes: one('s3Writes'),
    s3Reads: one('s3Reads'),
    registryRequests: one('registryRequests'),
    transitions: one('transitions'),
    invocations: {},
    events: one('events'),
  };
}

const rounded = (value: number): number => Math.round(Math.max(0, value) * 100) / 100;

async function missOf(on: CostBench, name: string, image: Image): Promise<Requests> {
  return await on.miss(on.offer(name, image), signal);
}

const layers = (count: number, bytes: number): number[] => new Array<number>(count).fill(bytes);

const sample = sampleImage();
const reference = bench.offer('sample', sample);
const miss = await bench.miss(reference, signal);
const hit = await bench.hit(reference, signal);
const [blob] = sample.blobs.keys();
const served = {
  tag: await bench.serve('sample', 'manifests/v1'),
  manifest: await bench.serve('sample', `manifests/${sample.root.digest}`),
  blob: await bench.serve('sample', `blobs/${blob}`),
};
const few = await missOf(bench, 'few', noiseImage({ name: 'few', layerBytes: layers(FEW, MIB) }));
const many = await missOf(bench, 'many', noiseImage({ name: 'many', layerBytes: layers(MANY, MIB) }));
const short = await missOf(bench, 'short', noiseImage({ name: 'short', layerBytes: [FEW * PARTS] }));
const long = await missOf(bench, 'long', noiseImage({ name: 'long', layerBytes: [MANY * PARTS] }));
const cached = [...Array(MANY).keys()].map((index) => bench.offer(`cached-${index}`, sample));
for (const one of cached) await bench.miss(one, signal);
const fewEntries = await bench.warmUp(cached.slice(0, FEW), signal);
const manyEntries = await bench.warmUp(cached, signal);
const warmupEntry = difference(manyEntries, fewEntries, MANY - FEW);
const run = difference(fewEntries, warmupEntry, 1);

const settings = stackSettings('prod', {});
const watched = Object.values(alarms(settings)).map(({ Properties }) => {
  const { Metrics: metrics = [] } = Properties as { Metrics?: readonly { MetricStat?: unknown }[] };
  return Math.max(1, metrics.filter(({ MetricStat }) => MetricStat !== undefined).length);
});
const counts: Counts = {
  countedOn: new Date().toISOString().slice(0, 10),
  sample: {
    blobs: sample.blobs.size,
    manifests: sample.manifests.size,
    bytes: [...sample.blobs.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
  },
  hit,
  served,
  miss,
  missBlob: difference(many, few, MANY - FEW),
  missPart: difference(long, short, MANY - FEW),
  warmupRun: { ...run, ...timesEntries(fewEntries, warmupEntry, FEW) },
  warmupEntry,
  alarmMetrics: watched.reduce((sum, metrics) => sum + metrics, 0),
  customMetrics: Object.keys(METRICS).length,
};
await writeFile(COUNTS, `${JSON.stringify(counts, undefined, 2)}\n`);

/** What a run of `entries` takes beside them. */
function timesEntries(all: Requests, entry: Requests, entries: number): Requests {
  const each = Object.fromEntries(
    Object.entries(entry).map(([figure, value]) => [figure, typeof value === 'number' ? value * entries : value]),
  ) as unknown as Requests;
  return { ...difference(all, each, 1), invocations: all.invocations };
}
