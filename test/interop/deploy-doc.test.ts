import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ROOT } from '../../infra/bundles.ts';
import { SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage } from '../../infra/local/sample/sample-image.ts';
import { startSampleRegistry, type SampleRegistry } from '../../infra/local/sample/sample-registry.ts';
import { PARAMETERS } from '../../infra/settings.ts';
import { bucketPolicy } from '../../infra/resources/storage.ts';
import { tableDefinition } from '../../infra/table.ts';
import { startRunningApplication, type RunningApplication } from '../support/running-application.ts';

const COMMAND_TIMEOUT_MS = 120_000;
const SAMPLE = `sample.example.test/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`;

const text = readFileSync(join(ROOT, 'docs', 'deploy.md'), 'utf8');

/** The code blocks whose opening line is this, in order. */
const blocks = (opening: string): readonly string[] =>
  [...text.matchAll(/^```(.*)\n([^]*?)^```$/gm)].filter(([, kind]) => kind === opening).map(([, , code]) => code ?? '');

interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A copy of the project, for commands to work in. */
interface ProjectCopy extends AsyncDisposable {
  readonly folder: string;
  /** Has the shell run it, with these variables and none of ours. */
  run(command: string, variables?: Readonly<Record<string, string>>): Promise<Ran>;
}

async function copyProject(): Promise<ProjectCopy> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-deploy-doc-'));
  for (const name of ['functions', 'infra', 'lib', 'package.json', 'serverless.yml']) {
    await cp(join(ROOT, name), join(folder, name), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const environment = {
    PATH: [join(ROOT, 'node_modules', '.bin'), process.env.PATH].join(delimiter),
    HOME: folder,
    npm_config_update_notifier: 'false',
  };
  return {
    folder,
    run: (command, variables = {}) =>
      new Promise((resolve) => {
        const env = { ...environment, ...variables };
        const options = { cwd: folder, env, timeout: COMMAND_TIMEOUT_MS };
        execFile('bash', ['--norc', '-euo', 'pipefail', '-c', command], options, (error, stdout, stderr) =>
          resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr }),
        );
      }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

describe('docs/deploy.md', { timeout: 600_000 }, () => {
  let project: ProjectCopy;
  before(async () => {
    project = await copyProject();
  });
  after(() => project[Symbol.asyncDispose]());

  test('every command that needs no AWS account works, from top to bottom, without credentials', async () => {
    const commands = blocks('sh runnable');
    assert.ok(commands.length >= 4, `only ${commands.length} blocks are marked runnable`);
    for (const command of commands) {
      const { exitCode, stdout, stderr } = await project.run(command);
      assert.equal(exitCode, 0, `${command}\n${stdout}${stderr}`);
    }
    assert.ok(existsSync(join(project.folder, 'dist', 'package', 'template.json')));
    assert.ok(existsSync(join(project.folder, '.serverless', 'serverless-state.json')));
  });

  test('no command that could run here is left unmarked', () => {
    const unmarked = blocks('sh').filter((code) => !/\b(?:aws|docker|npm ci|npm run deploy|npx osls)\b/.test(code));
    assert.deepEqual(unmarked, []);
  });

  test('deploying without a region ends before anything is deployed, and says what to do', async () => {
    const registries = { 'registry.example.test': { credentials: 'none' } };
    const config = join(project.folder, 'without-region.json');
    await writeFile(config, JSON.stringify({ registries }));
    const { exitCode, stdout, stderr } = await project.run('npm run deploy -- --stage prod', {
      ENTREPOT_CONFIG: config,
    });
    assert.equal(exitCode, 2, `${stdout}${stderr}`);
    assert.match(stderr, /^no region: set AWS_REGION, or add --region$/m);
  });

  test('names every parameter', () => {
    for (const name of PARAMETERS) assert.match(text, new RegExp(`\`${name}\`.* \\| `), name);
  });

  test('the policy for an existing bucket is that of our own', () => {
    const [shown] = blocks('json bucket-policy');
    const arn = 'arn:aws:s3:::my-bucket';
    assert.deepEqual(
      JSON.parse(shown ?? ''),
      bucketPolicy(arn, (prefix) => `${arn}/${prefix}*`),
    );
  });
});

describe('docs/deploy.md, what it does with a deployment', { timeout: 240_000 }, () => {
  const NEW = 'made-again';
  let sample: SampleRegistry;
  let application: RunningApplication;
  let project: ProjectCopy;
  /** As of somebody who works with the deployment: how AWS is reached, and what the page calls its parts. */
  let variables: Readonly<Record<string, string>>;
  /** What each marked block said, by a word of it. */
  const said = async (word: string): Promise<Ran> => {
    const [command = '', ...more] = blocks('sh runnable stack').filter((code) => code.includes(word));
    assert.ok(command !== '' && more.length === 0, `the blocks with ${word} that are marked "runnable stack"`);
    return await project.run(command, variables);
  };

  before(async () => {
    sample = await startSampleRegistry();
    sample.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage());
    application = await startRunningApplication({
      registries: { 'sample.example.test': { endpoint: sample.origin, credentials: 'none' } },
      limits: { leaseSeconds: 2 },
    });
    project = await copyProject();
    const { ENTREPOT_BUCKET: BUCKET = '' } = application.environment;
    variables = {
      ...Object.fromEntries(Object.entries(application.environment).filter(([name]) => name.startsWith('AWS_'))),
      ENTREPOT_CONFIG: join(application.folder, 'entrepot.yaml'),
      URL: application.origin,
      BUCKET,
      NEW,
    };
    const body = JSON.stringify({ reference: SAMPLE });
    const pulled = await application.curl('/v1/pull', '-H', 'content-type: application/json', '-d', body);
    assert.equal(pulled.status, 200, pulled.body);
  });
  after(async () => {
    await project[Symbol.asyncDispose]();
    await application[Symbol.asyncDispose]();
    await sample.close();
  });

  test('all of it is tried here', () => {
    assert.equal(blocks('sh runnable stack').length, 2);
  });

  test('the doctor finds nothing wrong with it', async () => {
    const asked = sample.requests.length;
    const { exitCode, stdout, stderr } = await said('doctor');
    assert.equal(exitCode, 0, `${stdout}${stderr}`);
    assert.match(stdout, /^holds /m);
    assert.doesNotMatch(stdout, /^fails /m);
    assert.match(stderr, /\b[1-9]\d* hold, 0 fail, /);
    assert.equal(sample.requests.length, asked);
  });

  test('a table is made again from the bucket: its images are hits, and no registry is asked', async () => {
    const { AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = application.environment;
    const dynamo = new DynamoDBClient({
      region: AWS_REGION!,
      endpoint: AWS_ENDPOINT_URL_DYNAMODB!,
      credentials: { accessKeyId: AWS_ACCESS_KEY_ID!, secretAccessKey: AWS_SECRET_ACCESS_KEY! },
    });
    try {
      await dynamo.send(new CreateTableCommand(tableDefinition(NEW)));
    } finally {
      dynamo.destroy();
    }
    const entrepot = (args: string): Promise<Ran> =>
      project.run(`ENTREPOT_BUCKET="$BUCKET" ENTREPOT_TABLE="$NEW" node lib/cli/entrepot.js ${args}`, variables);
    const asked = sample.requests.length;
    assert.equal((await entrepot('images --json')).stdout, '');

    const first = await said('rebuild');
    assert.deepEqual([first.exitCode, first.stdout], [0, `${SAMPLE}: rebuilt\n`], first.stderr);
    assert.match(first.stderr, /^1 reference rebuilt, 0 in part, 0 known already, 0 skipped$/m);

    const hit = await entrepot(`pull ${SAMPLE} --json`);
    assert.equal((JSON.parse(hit.stdout) as { outcome: string }).outcome, 'hit', hit.stderr);
    assert.equal(sample.requests.length, asked);
  });
});

test('every npm script that a page names is one of package.json', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Readonly<Record<string, string>>;
  };
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...docs.map((name) => join('docs', name))];
  const named = pages
    .filter((page) => page.endsWith('.md'))
    .flatMap((page) => {
      const found = readFileSync(join(ROOT, page), 'utf8').matchAll(/\bnpm (?:run (?:-\S+ )*([a-z][\w:-]*)|(test)\b)/g);
      return [...found].map(([, script, alone]) => ({ page, script: script ?? alone ?? '' }));
    });
  const scriptsNamed = new Set(named.map(({ script }) => script));
  for (const script of ['quickstart', 'entrepot', 'deploy', 'test']) assert.ok(scriptsNamed.has(script), script);
  assert.deepEqual(
    named.filter(({ script }) => scripts[script] === undefined),
    [],
  );
});
