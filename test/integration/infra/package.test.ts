import { unzipSync } from 'fflate';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT } from '../../../infra/bundles.ts';
import { violations } from '../../../infra/checks/checks.ts';
import type { Template } from '../../../infra/cloudformation.ts';
import { FUNCTIONS, functionId, roleId } from '../../../infra/names.ts';
import { packageApplication, type Packaged } from '../../../infra/packaging/package-application.ts';
import { zipFunctions } from '../../../infra/packaging/zips.ts';
import { readCompiledConfig } from '../../../lib/config/compiled.ts';
import { serviceFolder } from '../../support/compiled-template.ts';
import { EVERYTHING } from '../../support/packaged-config.ts';

const run = promisify(execFile);
/** Nobody but `npm run package` in a shell of its own. */
const ENVIRONMENT = { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE };

/** What a role may do, by the client that asks for it. */
const CLIENTS: Readonly<Record<string, RegExp>> = {
  '@aws-sdk/client-s3': /^s3:/,
  '@aws-sdk/client-dynamodb': /^dynamodb:/,
  '@aws-sdk/client-sfn': /^states:/,
  '@aws-sdk/client-eventbridge': /^events:/,
  '@aws-sdk/client-secrets-manager': /^secretsmanager:/,
  '@aws-sdk/client-ecr': /^ecr:/,
  '@aws-sdk/client-lambda': /^lambda:/,
};

describe('npm run package', { timeout: 180_000 }, () => {
  let folder: Awaited<ReturnType<typeof serviceFolder>>;
  let packaged: Packaged;
  before(async () => {
    folder = await serviceFolder(`${EVERYTHING}serve: { auth: { users: { secret: example/users } } }\n`);
    packaged = await packageApplication({
      folder: folder.path,
      stage: 'test',
      parameters: ['logRetentionDays=7'],
      environment: ENVIRONMENT,
      level: 0,
      signal: AbortSignal.timeout(150_000),
    });
  });
  after(() => folder[Symbol.asyncDispose]());

  const plain = (): Template =>
    JSON.parse(readFileSync(join(packaged.plainFolder, 'template.json'), 'utf8')) as Template;

  test('makes a zip of each function that Lambda can run: the bundle and the compiled configuration, for everybody to read', () => {
    assert.deepEqual(packaged.zips.map(({ name }) => name).sort(), [...FUNCTIONS].sort());
    for (const { name, path } of packaged.zips) {
      const files = unzipSync(readFileSync(path));
      assert.ok(files['index.mjs'], `${name} has no index.mjs`);
      assert.ok(files['index.mjs.map'], `${name} has no source map`);
      const config = readCompiledConfig(Buffer.from(files['config.json']!).toString());
      assert.deepEqual([...config.registries.keys()].length, 4);
      assert.equal(config.warmups[0]?.name, 'nightly');
      const strange = Object.keys(files).filter(
        (file) => !/^(?:index|chunks\/[\w.-]+)\.mjs(?:\.map)?$|^config\.json$/.test(file),
      );
      assert.deepEqual(strange, [], name);
    }
  });

  test('makes the same bytes at another time, in another time zone', async () => {
    const zone = process.env.TZ;
    const [smallest] = packaged.bundles.toSorted((one, other) => one.bytes - other.bytes);
    const sha256In = async (timeZone: string): Promise<string> => {
      process.env.TZ = timeZone;
      const [zip] = await zipFunctions([smallest!], '{}', join(folder.path, 'again'));
      return zip!.sha256;
    };
    try {
      assert.equal(await sha256In('Pacific/Auckland'), await sha256In('America/New_York'));
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });

  test('writes checksums of everything in the plain package', () => {
    const lines = readFileSync(join(packaged.plainFolder, 'SHA256SUMS'), 'utf8').trim().split('\n');
    const listed = lines.map((line) => line.slice(66));
    for (const line of lines) {
      const bytes = readFileSync(join(packaged.plainFolder, line.slice(66)));
      assert.equal(createHash('sha256').update(bytes).digest('hex'), line.slice(0, 64));
    }
    assert.deepEqual([...listed, 'SHA256SUMS'].sort(), readdirSync(packaged.plainFolder).sort());
  });

  test('the plain template takes its code from the bucket and prefix of its parameters, by names that change with the code', () => {
    const { Resources, Parameters, Outputs } = plain();
    assert.deepEqual(Object.keys(Parameters ?? {}), ['CodeBucket', 'CodePrefix']);
    assert.ok(!JSON.stringify({ Resources, Outputs }).includes('ServerlessDeployment'));
    for (const name of FUNCTIONS) {
      const code = Resources[functionId(name)]?.Properties?.Code as { S3Bucket: unknown; S3Key: { 'Fn::Sub': string } };
      assert.deepEqual(code.S3Bucket, { Ref: 'CodeBucket' });
      const file = code.S3Key['Fn::Sub'].replace('${CodePrefix}', '');
      assert.ok(existsSync(join(packaged.plainFolder, file)), file);
    }
  });

  test('both templates have the properties of infra/checks, and fit into CloudFormation', () => {
    assert.deepEqual(violations(plain()), []);
    assert.deepEqual(violations(JSON.parse(readFileSync(packaged.oslsTemplate, 'utf8')) as Template), []);
    assert.ok(statSync(join(packaged.plainFolder, 'template.json')).size < 1_000_000);
    assert.ok(Object.keys(plain().Resources).length < 500);
  });

  test('a role may do what the clients in its bundle ask for, and nothing else', () => {
    const { Resources } = plain();
    for (const { name, packages } of packaged.bundles) {
      const role = JSON.stringify(Resources[roleId(name as (typeof FUNCTIONS)[number])]);
      const actions = [...role.matchAll(/"([a-z0-9]+:[A-Z]\w+)"/g)].map(([, action]) => action!);
      for (const [client, pattern] of Object.entries(CLIENTS)) {
        const may = actions.some((action) => pattern.test(action));
        const asks = packages.has(client);
        assert.equal(
          may,
          asks,
          `${name}: the role ${may ? 'has' : 'lacks'} ${pattern.source}, the bundle ${asks ? 'has' : 'lacks'} ${client}`,
        );
      }
    }
  });

  test('a wrong configuration is told whole, before anything is made', async () => {
    const bad = join(folder.path, 'bad.yaml');
    await writeFile(
      bad,
      'registries: { docker.io: {}, ghcr.io: { credentials: { secret: x } } }\nlimits: { depth: -1 }\n',
    );
    const failed = await run(process.execPath, [join(ROOT, 'infra', 'package.ts')], {
      env: { ...ENVIRONMENT, ENTREPOT_CONFIG: bad },
      timeout: 30_000,
    }).then(
      () => assert.fail('it succeeded'),
      (error: unknown) => error as { code: number; stderr: string },
    );
    assert.equal(failed.code, 2);
    assert.match(failed.stderr, /3 problems/);
    assert.match(failed.stderr, /docker\.io.*anonymous: accepted/);
    assert.match(failed.stderr, /ghcr\.io.*allow/);
    assert.match(failed.stderr, /limits\.depth/);
    assert.match(failed.stderr, /entrepot\.example\.yaml/);
  });

  test('wrong parameters are told whole', async () => {
    const options = {
      folder: folder.path,
      stage: 'test',
      environment: ENVIRONMENT,
      signal: AbortSignal.timeout(30_000),
    };
    await assert.rejects(
      packageApplication({ ...options, parameters: ['kmsKeyArn=mine', 'tags=x'] }),
      /2 problems[^]*kmsKeyArn[^]*tags/,
    );
    await assert.rejects(packageApplication({ ...options, parameters: ['kmskey=x'] }), /there is no parameter kmskey/);
    await assert.rejects(packageApplication({ ...options, parameters: ['bucket'] }), /write name=value/);
  });
});
