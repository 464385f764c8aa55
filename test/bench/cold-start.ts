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
  pullEvent,
  registryEvent,
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

/** A function, what it is asked first, and how its answer shows that it was a hit. */
interface Hit {
  readonly name: string;
  readonly event: object;
  readonly isHit: (answer: ColdStart['answer']) => boolean;
}

const PATH = `/v2/${REGISTRY}/${SAMPLE_REPOSITORY}`;
const HITS: readonly Hit[] = [
  {
    name: 'api',
    event: pullEvent(REFERENCE),
    isHit: ({ statusCode, body = '' }) => statusCode === 200 && body.includes('"outcome":"hit"'),
  },
  {
    name: 'registry',
    event: registryEvent(`${PATH}/blobs/${[...sampleImage().blobs.keys()][0]}`),
    isHit: ({ statusCode, headers = {} }) => statusCode === 307 && headers.location?.startsWith('http') === true,
  },
];

/** What a cold start of a bundle takes up to its first hit, beside an empty handler and beside one file that loads everything at once. */
export async function coldStartSection(bench: Bench): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
  await using resources = new AsyncDisposableStack();
  const sample = resources.use(await startSampleRegistry());
  sample.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage());
  const registries = { [REGISTRY]: { endpoint: sample.origin, credentials: 'none', public: true } };
  const cache = resources.use(await openCache(bench.stack, { registries }));
  await cache.pull(REFERENCE, { deadline: bench.signal });
  await mkdir(FOLDER, { recursive: true });
  const config = join(FOLDER, 'config.json');
  await writeFile(config, compileConfig(cache.services.config));
  for (const hit of HITS) await compareStarts(bench, hit, lambdaEnvironment(cache.environment, config));
}

async function compareStarts({ rounds, signal }: Bench, hit: Hit, environment: NodeJS.ProcessEnv): Promise<void> {
  const { name, event } = hit;
  const own = await bundleFunction(name, join(FOLDER, name));
  const naive = await bundleNaively(name, join(FOLDER, `${name}-naive`));
  const empty = await emptyHandler(join(FOLDER, 'empty'));
  const contenders: readonly Contender[] = [
    { ...empty },
    { ...own, name: `entrepot ${name}` },
    { ...naive, name: 'naive' },
  ];
  const start = (folder: string, trace = false): Promise<ColdStart> =>
    coldHit(folder === empty.folder ? () => true : hit.isHit, { folder, event, environment, trace, signal });

  const starts = new Map<string, ColdStart[]>(contenders.map((contender) => [contender.name, []]));
  for (let i = 0; i < rounds * STARTS_PER_ROUND; i++) {
    for (const contender of contenders) starts.get(contender.name)?.push(await start(contender.folder));
  }
  printTitle(`Cold start of ${name}: medians of ${rounds * STARTS_PER_ROUND} fresh processes each, taken in turns`);
  printStarts(contenders, starts, 'naive');
  requireTargets(starts.get(`entrepot ${name}`) ?? [], starts.get('naive') ?? []);
  const traced = await start(own.folder, true);
  const clients = clientsLoaded(own, traced);
  printTitle(`What import and first hit of ${name} load`);
  console.log(`  ${filesLoaded(own, traced).length} files of the bundle; clients in them: ${clients.join(', ')}`);
  const early = clients.filter((client) => !EAGER_CLIENTS.includes(client));
  if (early.length > 0) throw new Error(`a hit of ${name} loads ${early.join(', ')}: it must not`);
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
  const code = 'export const handler = async () => ({ statusCode: 200 });\n';
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'index.mjs'), code);
  return { name: 'empty handler', folder, bytes: code.length, eagerBytes: code.length };
}

/** One that answered with a hit. */
async function coldHit(isHit: Hit['isHit'], options: ColdStartOptions): Promise<ColdStart> {
  const start = await coldStart(options);
  if (isHit(start.answer)) return start;
  const { statusCode, body = '' } = start.answer;
  throw new Error(`the cold start of ${options.folder} answered ${statusCode} ${body}, and no hit`);
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
