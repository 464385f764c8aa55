import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bundleFunctions, type Bundle } from '../../../infra/bundles.ts';
import { sampleImage, SAMPLE_REPOSITORY, SAMPLE_TAG } from '../../../infra/local/sample/sample-image.ts';
import { startSampleRegistry } from '../../../infra/local/sample/sample-registry.ts';
import { compileConfig } from '../../../lib/config/compiled.ts';
import { openCache, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import {
  clientsLoaded,
  coldStart,
  lambdaEnvironment,
  pullEvent,
  registryEvent,
  type ColdStart,
} from '../../support/cold-start.ts';

const REGISTRY = 'registry.example.test';
const DYNAMO = '@aws-sdk/client-dynamodb';

describe('in a fresh process', { timeout: 300_000 }, () => {
  const image = sampleImage();
  let bench: Bench;
  let cache: TestCache;
  let folder: string;
  let config: string;
  let bundles: readonly Bundle[];
  before(async () => {
    bench = await startBench();
    folder = await mkdtemp(join(tmpdir(), 'entrepot-cold-'));
    bundles = await bundleFunctions(join(folder, 'bundles'));
    const registry = await bench.use(startSampleRegistry());
    registry.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, image);
    const registries = { [REGISTRY]: { endpoint: registry.origin, credentials: 'none' } };
    cache = await bench.use(openCache(bench.stack, { registries }));
    await cache.pull(`${REGISTRY}/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`);
    config = join(folder, 'config.json');
    await writeFile(config, compileConfig(cache.services.config));
  });
  after(async () => {
    await bench[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  async function start(name: string, event: object): Promise<readonly [Bundle, ColdStart]> {
    const bundle = bundles.find((one) => one.name === name)!;
    const environment = lambdaEnvironment(cache.environment, config);
    const started = await coldStart({ folder: bundle.folder, event, environment, trace: true });
    // Neither is the part of Node that an `import` of node:http brings along (infra/bundles.ts).
    assert.ok(!started.loaded.includes('node:http'));
    return [bundle, started];
  }

  test('a hit of the API loads DynamoDB alone', async () => {
    const [bundle, started] = await start('api', pullEvent(`${REGISTRY}/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`));
    assert.equal(started.answer.statusCode, 200, started.answer.body);
    assert.equal((JSON.parse(started.answer.body ?? '') as { outcome: string }).outcome, 'hit');
    assert.deepEqual(clientsLoaded(bundle, started), [DYNAMO]);
    const lines = started.written
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(lines.filter((line) => '_aws' in line && line.Hits === 1).length, 1);
  });

  const base = `/v2/${REGISTRY}/${SAMPLE_REPOSITORY}`;

  test('a blob of the registry endpoint loads DynamoDB alone: its URL is signed without the client of S3', async () => {
    const [blob] = image.blobs.keys();
    const [bundle, started] = await start('registry', registryEvent(`${base}/blobs/${blob}`));
    assert.equal(started.answer.statusCode, 307, started.answer.body);
    assert.match(started.answer.headers?.location ?? '', /X-Amz-Signature=/);
    assert.deepEqual(clientsLoaded(bundle, started), [DYNAMO]);
  });

  test('a manifest of the registry endpoint loads DynamoDB, and S3 to read it: nothing that dials registries or starts pulls', async () => {
    const [bundle, started] = await start('registry', registryEvent(`${base}/manifests/${SAMPLE_TAG}`));
    assert.equal(started.answer.statusCode, 200);
    assert.deepEqual(Buffer.from(started.answer.body ?? '', 'base64'), Buffer.from(image.root.bytes));
    assert.deepEqual(clientsLoaded(bundle, started).toSorted(), [DYNAMO, '@aws-sdk/client-s3']);
  });
});
