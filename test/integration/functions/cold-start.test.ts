import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bundleFunction } from '../../../infra/bundles.ts';
import { sampleImage, SAMPLE_REPOSITORY, SAMPLE_TAG } from '../../../infra/local/sample/sample-image.ts';
import { startSampleRegistry } from '../../../infra/local/sample/sample-registry.ts';
import { compileConfig } from '../../../lib/config/compiled.ts';
import { openCache, startBench } from '../../support/cache.ts';
import { clientsLoaded, coldStart, lambdaEnvironment } from '../../support/cold-start.ts';

test('a hit of the API in a fresh process loads DynamoDB alone', { timeout: 60_000 }, async () => {
  await using bench = await startBench();
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-cold-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const registry = await bench.use(startSampleRegistry());
  registry.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage());
  const registries = { 'registry.example.test': { endpoint: registry.origin, credentials: 'none' } };
  const cache = await bench.use(openCache(bench.stack, { registries }));
  const reference = `registry.example.test/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`;
  await cache.pull(reference);
  const config = join(folder, 'config.json');
  await writeFile(config, compileConfig(cache.services.config));

  const bundle = await bundleFunction('api', join(folder, 'api'));
  const environment = lambdaEnvironment(cache.environment, config);
  const start = await coldStart({ folder: bundle.folder, reference, environment, trace: true });
  assert.equal(start.answer.statusCode, 200, start.answer.body);
  assert.equal((JSON.parse(start.answer.body ?? '') as { outcome: string }).outcome, 'hit');
  assert.deepEqual(clientsLoaded(bundle, start), ['@aws-sdk/client-dynamodb']);
  // Neither is the part of Node that an `import` of node:http brings along (infra/bundles.ts).
  assert.ok(!start.loaded.includes('node:http'));

  const lines = start.written
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(lines.filter((line) => '_aws' in line && line.Hits === 1).length, 1);
});
