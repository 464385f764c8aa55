import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bundleFunction, bundleFunctions, functionNames, isClient, type Bundle } from '../../../infra/bundles.ts';
import { FUNCTIONS } from '../../../infra/names.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-bundles-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const filesOf = (root: string): string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();

const sumsOf = (root: string): string[] =>
  filesOf(root).map(
    (name) =>
      `${createHash('sha256')
        .update(readFileSync(join(root, name)))
        .digest('hex')} ${name}`,
  );

const SECRETS = ['@aws-sdk/client-ecr', '@aws-sdk/client-secrets-manager', '@aws-sdk/client-sts', 'undici'];
const DYNAMO = '@aws-sdk/client-dynamodb';
const S3 = '@aws-sdk/client-s3';
const EVENTS = '@aws-sdk/client-eventbridge';
const SIGNING = '@aws-sdk/client-secrets-manager';
const LAMBDA = '@aws-sdk/client-lambda';
const SFN = '@aws-sdk/client-sfn';

/** Written down a second time: what a function may reach is also what its role must allow. */
const CLIENTS: Readonly<Record<string, readonly string[]>> = {
  api: [DYNAMO, S3, SIGNING, SFN],
  registry: [DYNAMO, LAMBDA, S3, SIGNING, SFN],
  fetch: [DYNAMO, S3, ...SECRETS],
  pull: [DYNAMO, S3, EVENTS, ...SECRETS],
  plan: [DYNAMO, S3, EVENTS, ...SECRETS],
  copy: [DYNAMO, S3, ...SECRETS],
  publish: [DYNAMO, S3, EVENTS],
  fail: [DYNAMO, EVENTS],
  oversee: [DYNAMO, EVENTS, SFN],
  warmup: [DYNAMO, EVENTS, SFN, ...SECRETS],
  events: [DYNAMO, S3, SFN],
};

describe('the bundles', () => {
  let bundles: readonly Bundle[] = [];
  before(async () => {
    bundles = await bundleFunctions(join(folder, 'one'));
  });

  test('are those of all functions of the application', async () => {
    assert.deepEqual(await functionNames(), [...FUNCTIONS].sort());
    assert.deepEqual(
      bundles.map(({ name }) => name),
      await functionNames(),
    );
  });

  test('hold the clients that the function uses, and no other', () => {
    for (const { name, packages } of bundles) {
      assert.deepEqual([...packages].filter(isClient).sort(), [...(CLIENTS[name] ?? [])].sort(), name);
    }
  });

  test('load DynamoDB alone from the start', () => {
    for (const { name, eagerPackages } of bundles) {
      assert.deepEqual([...eagerPackages].filter(isClient), [DYNAMO], name);
      for (const late of ['yaml', 'undici']) assert.ok(!eagerPackages.has(late), `${name} ${late}`);
    }
  });

  test('are the same bytes for the same sources, with a map beside each file', async () => {
    for (const time of ['first', 'second']) await bundleFunction('fail', join(folder, time, 'fail'));
    assert.deepEqual(sumsOf(join(folder, 'second')), sumsOf(join(folder, 'first')));
    const names = filesOf(join(folder, 'one'));
    const code = names.filter((name) => name.endsWith('.mjs'));
    assert.deepEqual(
      names.filter((name) => !name.endsWith('.mjs')),
      code.map((name) => `${name}.map`),
    );
  });

  test('say where an error comes from by the names of the sources', () => {
    const index = join(folder, 'one', 'fail', 'index.mjs');
    const script = `
      const { handler } = await import(${JSON.stringify(index)});
      await handler({}, { awsRequestId: 'id', getRemainingTimeInMillis: () => 3000 }).catch((e) => console.log(e.name, e.stack));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
      env: { NODE_OPTIONS: '--enable-source-maps', POWERTOOLS_LOG_LEVEL: 'SILENT' },
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal(stderr, '');
    assert.match(stdout, /^ConfigError /);
    assert.match(stdout, /lib\/lambda\/handler\.ts:\d+/);
  });

  test('name a part that they were packaged without, if it is used after all', async () => {
    const chunks = filesOf(join(folder, 'one', 'fail')).filter((name) => /s3-client-.*\.mjs$/.test(name));
    assert.equal(chunks.length, 1);
    await assert.rejects(
      import(join(folder, 'one', 'fail', chunks[0]!)),
      /function fail was packaged without store \(lib\/store\/s3-client\.ts\)/,
    );
  });
});
