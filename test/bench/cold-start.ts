import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleFunction, bundleNaively, EAGER_CLIENTS, ROOT } from '../../infra/bundles.ts';
import { sampleImage, SAMPLE_REPOSITORY, SAMPLE_TAG } from '../../infra/local/sample/sample-image.ts';
import { startSampleRegistry } from '../../infra/local/sample/sample-registry.ts';
import { compileConfig } from '../../lib/config/compiled.ts';
import { openCache } from '../support/cache.ts';
import {
  clientsLoaded,
  coldStart,
  filesLoaded,
  lambdaEnvironment,
  type ColdStart,
  type ColdStartOptions,
} from '../support/cold-start.ts';
import { REGISTRY, type Bench } from './bench.ts';
import { median, printTable, printTitle } from './table.ts';

const REFERENCE = `${REGISTRY}/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`;
const FOLDER = join(ROOT, 'dist', 'bench');
/** A cold start is short, and its noise is large. */
const STARTS_PER_ROUND = 5;
const TARGETS = { imported: 0.55, answered: 0.7 };

/** Who starts: its folder has an `index.mjs`. */
interface Contender {
  readonly name: string;
  readonly folder: string;
  readonly bytes: number;
  readonly eagerBytes: number;
}

/** What a cold start of the API's bundle takes up to its first hit, beside an empty handler and beside one file that loads everything at once. */
export async function coldStartSection(bench: Bench): Promise<void> {
  const { stack, rounds, signal } = bench;
  await rm(FOLDER, { recursive: true, force: true });
  const api = await bundleFunction('api', join(FOLDER, 'api'));
  const naive = await bundleNaively('api', join(FOLDER, 'naive'));
  const empty = await emptyHandler(join(FOLDER, 'empty'));
  const contenders: readonly Contender[] = [
    { ...empty },
    { ...api, name: 'entrepot api' },
    { ...naive, name: 'naive' },
  ];

  await using resources = new AsyncDisposableStack();
  const sample = resources.use(await startSampleRegistry());
  sample.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage());
  const registries = { [REGISTRY]: { endpoint: sample.origin, credentials: 'none' } };
  const cache = resources.use(await openCache(stack, { registries }));
  await cache.pull(REFERENCE, { deadline: signal });
  const config = join(FOLDER, 'config.json');
  await writeFile(config, compileConfig(cache.services.config));
  const environment = lambdaEnvironment(cache.environment, config);
  const start = (folder: string, trace = false): Promise<ColdStart> =>
    coldHit({ folder, reference: REFERENCE, environment, trace, signal });

  const starts = new Map<string, ColdStart[]>(contenders.map(({ name }) => [name, []]));
  for (let i = 0; i < rounds * STARTS_PER_ROUND; i++) {
    for (const { name, folder } of contenders) starts.get(name)?.push(await start(folder));
  }
  printTitle(`Cold start: medians of ${rounds * STARTS_PER_ROUND} fresh processes each, taken in turns`);
  printStarts(contenders, starts, 'naive');
  requireTargets(starts.get('entrepot api') ?? [], starts.get('naive') ?? []);
  const traced = await start(api.folder, true);
  const clients = clientsLoaded(api, traced);
  printTitle('What import and first hit load');
  console.log(`  ${filesLoaded(api, traced).length} files of the bundle; clients in them: ${clients.join(', ')}`);
  const early = clients.filter((client) => !EAGER_CLIENTS.includes(client));
  if (early.length > 0) throw new Error(`a hit of the API loads ${early.join(', ')}: it must not`);
}

/** @throws Error where a cold start takes a larger share of the naive bundle's than it may. */
function requireTargets(own: readonly ColdStart[], floors: readonly ColdStart[]): void {
  for (const moment of ['imported', 'answered'] as const) {
    const ratio = median(own.map((one, i) => one[moment].wallMs / (floors[i] ?? one)[moment].wallMs));
    if (ratio > TARGETS[moment])
      throw new Error(`${moment}: ${ratio.toFixed(2)} × naive, at most ${TARGETS[moment]} ×`);
  }
}

async function emptyHandler(folder: string): Promise<Contender> {
  const code = `export const handler = async () => ({ statusCode: 200, body: '{"outcome":"hit"}' });\n`;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'index.mjs'), code);
  return { name: 'empty handler', folder, bytes: code.length, eagerBytes: code.length };
}

/** One that answered with a hit. */
async function coldHit(options: ColdStartOptions): Promise<ColdStart> {
  const start = await coldStart(options);
  const { statusCode, body = '' } = start.answer;
  if (statusCode !== 200 || !body.includes('"outcome":"hit"')) {
    throw new Error(`the cold start of ${options.folder} answered ${statusCode} ${body}, and no hit`);
  }
  return start;
}

function printStarts(
  contenders: readonly Contender[],
  starts: ReadonlyMap<string, readonly ColdStart[]>,
  floor: string,
): void {
  const floors = starts.get(floor) ?? [];
  const rows = contenders.map(({ name, bytes, eagerBytes }) => {
    const own = starts.get(name) ?? [];
    const of = (figure: (one: ColdStart) => number): string => median(own.map(figure)).toFixed(1);
    const ratio = (figure: (one: ColdStart) => number): string =>
      median(own.map((one, i) => figure(one) / figure(floors[i] ?? one))).toFixed(2);
    const kib = (count: number): string => (count / 1024).toFixed(0);
    const [imported, answered] = (['imported', 'answered'] as const).map((moment) => [
      of((one) => one[moment].wallMs),
      ratio((one) => one[moment].wallMs),
      of((one) => one[moment].cpuMs),
      ratio((one) => one[moment].cpuMs),
    ]);
    return [name, kib(bytes), kib(eagerBytes), ...(imported ?? []), ...(answered ?? [])];
  });
  const heads = ['import ms', '× naive', 'CPU ms', '× naive', '+ first hit ms', '× naive', 'CPU ms', '× naive'];
  printTable(['', 'KiB', 'KiB at start', ...heads], rows);
  console.log(`  targets: import ≤ ${TARGETS.imported} ×, import and first hit ≤ ${TARGETS.answered} × naive`);
}
