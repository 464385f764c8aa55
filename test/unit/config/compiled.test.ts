import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { compileConfig, loadRuntimeConfig, readCompiledConfig } from '../../../lib/config/compiled.ts';
import { loadConfig, type Config } from '../../../lib/config/config.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-compiled-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const AWS = { ENTREPOT_BUCKET: 'b', ENTREPOT_TABLE: 't', AWS_LAMBDA_FUNCTION_NAME: 'api' };

let files = 0;
function writeFile(text: string): string {
  const path = join(folder, `${files++}`);
  writeFileSync(path, text);
  return path;
}

writeFileSync(join(folder, 'ca.pem'), selfSigned('127.0.0.1').cert);

/** One with something in every section. */
function richConfig(): Config {
  const yaml = `
registries:
  docker.io: { credentials: { secret: hub }, allow: ['**'] }
  registry.example.test:5000:
    mirrors: [https://mirror.example.test]
    passRedirects: [cdn.example.test, '*.cdn.example.test']
    credentials: { ecr: { roleArn: 'arn:aws:iam::123456789012:role/reader', externalId: abc } }
    endpoint: https://123456789012.dkr.ecr.eu-central-1.amazonaws.com
    allow: ['team/**']
    platforms: [linux/amd64, linux/arm/v7]
    alias: example
    ca: ca.pem
    proxy: http://proxy.example.test:3128
limits: { parallelBlobs: 8, leaseSeconds: 20 }
access:
  jwt: { issuer: 'https://issuer.example.test', audience: [entrepot], claim: { name: scope, anyOf: ['pull:*'] } }
  rules: [{ callers: ['pull:team'], repositories: ['registry.example.test:5000/team/**'] }]
warmups:
  nightly:
    schedule: cron(0 3 * * ? *)
    timeZone: Europe/Berlin
    images:
      - { reference: 'registry.example.test:5000/team/app:v1' }
      - { repository: docker.io/library/nginx, tags: { glob: '1.*', newest: 3 }, platforms: [linux/amd64] }
serve: { onBlobMiss: redirect, waiting: 5, blobEndpoint: 'https://blobs.example.test' }
`;
  return loadConfig({ ...AWS, ENTREPOT_CONFIG: writeFile(yaml) }, folder);
}

const portable = ({ file: _file, store: _store, dockerConfigPath: _docker, ...config }: Config) => config;

describe('a compiled configuration', () => {
  test('is what was compiled: every field but those that the environment says', () => {
    const config = richConfig();
    const revived = readCompiledConfig(compileConfig(config));
    assert.deepEqual(revived, portable(config));
    assert.deepEqual(
      Object.keys(revived).sort(),
      Object.keys(config)
        .filter((key) => key !== 'file' && key !== 'store' && key !== 'dockerConfigPath')
        .sort(),
    );
    const registry = revived.registries.get('registry.example.test:5000');
    assert.ok(registry?.endpoint instanceof URL && registry.proxy instanceof URL);
    assert.match(registry.ca ?? '', /BEGIN CERTIFICATE/);
    assert.deepEqual(registry.passRedirects, ['cdn.example.test', '*.cdn.example.test']);
    assert.equal(revived.serve.onBlobMiss, 'redirect');
  });

  test('is frozen all the way down', () => {
    const { registries, ...sections } = readCompiledConfig(compileConfig(richConfig()));
    const isFrozen = (value: unknown): boolean =>
      typeof value !== 'object' ||
      value === null ||
      value instanceof URL ||
      (Object.isFrozen(value) && Object.values(value).every(isFrozen));
    assert.ok(isFrozen(Object.values(sections)[0]));
    for (const value of [...Object.values(sections), ...registries.values()]) assert.ok(isFrozen(value));
  });

  test('is the same text for the same configuration', () => {
    assert.equal(compileConfig(richConfig()), compileConfig(richConfig()));
  });

  test('is plain JSON of the same shape', () => {
    const { config } = JSON.parse(compileConfig(richConfig())) as { config: Record<string, unknown> };
    const registries = config.registries as Record<string, Record<string, unknown>>;
    assert.deepEqual(Object.keys(registries), ['docker.io', 'registry.example.test:5000']);
    const registry = registries['registry.example.test:5000'];
    assert.equal(registry?.proxy, 'http://proxy.example.test:3128/');
    assert.deepEqual(registry.mirrors, ['https://mirror.example.test/']);
    const { blobEndpoint, waiting } = config.serve as Record<string, unknown>;
    assert.deepEqual([blobEndpoint, waiting], ['https://blobs.example.test/', 5]);
  });

  test('holds nothing that JSON would change, in any section', () => {
    const check = (value: unknown, path: string): void => {
      if (value instanceof URL || value === null) return;
      if (typeof value !== 'object') {
        assert.match(typeof value, /^(string|boolean|undefined|number)$/, path);
        if (typeof value === 'number') assert.ok(Number.isFinite(value) && !Object.is(value, -0), path);
        return;
      }
      const prototype: unknown = Object.getPrototypeOf(value);
      assert.ok(prototype === Object.prototype || prototype === Array.prototype || value instanceof Map, path);
      const entries = value instanceof Map ? [...(value as Map<string, unknown>)] : Object.entries(value);
      for (const [key, item] of entries) check(item, `${path}.${key}`);
    };
    check(portable(richConfig()), 'config');
  });

  test('of another version, or cut off, says to package again', () => {
    const text = compileConfig(richConfig());
    for (const wrong of [
      text.replace(/^\{"entrepotCompiledConfig":2/, '{"entrepotCompiledConfig":1'),
      text.slice(0, 200),
      '{}',
    ]) {
      assert.throws(() => readCompiledConfig(wrong), { name: 'ConfigError', message: /package the application again/ });
    }
  });
});

describe('the configuration of a function', () => {
  test('is the compiled file, with the store of the environment', async () => {
    const config = richConfig();
    const environment = {
      ...AWS,
      ENTREPOT_CONFIG: writeFile(compileConfig(config)),
      ENTREPOT_STATE_MACHINE: 'arn:aws:states:us-east-1:123456789012:stateMachine:pull',
      ENTREPOT_BUS: 'bus',
      AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9000',
    };
    const { file, store, dockerConfigPath, ...rest } = await loadRuntimeConfig(environment, '/');
    assert.equal(file, environment.ENTREPOT_CONFIG);
    assert.deepEqual(rest, portable(config));
    assert.equal(dockerConfigPath, undefined);
    assert.deepEqual(store, {
      kind: 'aws',
      bucket: 'b',
      table: 't',
      s3PathStyle: true,
      s3Endpoint: 'http://127.0.0.1:9000',
      stateMachine: environment.ENTREPOT_STATE_MACHINE,
      bus: 'bus',
    });
    await assert.rejects(loadRuntimeConfig({ ...environment, ENTREPOT_TABLE: '' }, '/'), /ENTREPOT_TABLE: is not set/);
  });

  test("has Docker's configuration where the environment says it is, as everywhere else", async () => {
    const file = { ...AWS, ENTREPOT_CONFIG: writeFile(compileConfig(richConfig())) };
    for (const [environment, path] of [
      [{}, undefined],
      [{ DOCKER_CONFIG: '/docker' }, '/docker/config.json'],
      [{ HOME: '/home/me' }, '/home/me/.docker/config.json'],
      [{ HOME: '/home/me', DOCKER_CONFIG: 'docker' }, '/task/docker/config.json'],
      [{ HOME: '', DOCKER_CONFIG: '' }, undefined],
    ] as const) {
      const { dockerConfigPath } = await loadRuntimeConfig({ ...file, ...environment }, '/task');
      assert.equal(dockerConfigPath, path, JSON.stringify(environment));
    }
  });

  test('may be the YAML itself, or JSON that is YAML', async () => {
    for (const text of ['registries: {ghcr.io: {}}', '{"registries": {"ghcr.io": {}}}']) {
      const config = await loadRuntimeConfig({ ...AWS, ENTREPOT_CONFIG: writeFile(text) }, folder);
      assert.deepEqual([...config.registries.keys()], ['ghcr.io']);
    }
  });

  test('that is not there is named', async () => {
    await assert.rejects(loadRuntimeConfig({ ...AWS, ENTREPOT_CONFIG: 'nowhere.json' }, folder), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /nowhere\.json: there is no such file/);
      return true;
    });
  });
});
