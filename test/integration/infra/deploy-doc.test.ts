import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT } from '../../../infra/bundles.ts';
import { PARAMETERS } from '../../../infra/settings.ts';
import { bucketPolicy } from '../../../infra/resources/storage.ts';

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 120_000;

const text = readFileSync(join(ROOT, 'docs', 'deploy.md'), 'utf8');

/** The code blocks whose opening line is this, in order. */
const blocks = (opening: string): readonly string[] =>
  [...text.matchAll(/^```(.*)\n([^]*?)^```$/gm)].filter(([, kind]) => kind === opening).map(([, , code]) => code ?? '');

describe('docs/deploy.md', { timeout: 600_000 }, () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-deploy-doc-'));
    for (const name of ['functions', 'infra', 'lib', 'package.json', 'serverless.yml']) {
      await cp(join(ROOT, name), join(folder, name), { recursive: true });
    }
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test('every command that needs no AWS account works, from top to bottom, without credentials', async () => {
    const commands = blocks('sh runnable');
    assert.ok(commands.length >= 4, `only ${commands.length} blocks are marked runnable`);
    for (const command of commands) {
      await run('bash', ['-euo', 'pipefail', '-c', command], {
        cwd: folder,
        env: { PATH: [join(ROOT, 'node_modules', '.bin'), process.env.PATH].join(delimiter), HOME: folder },
        timeout: COMMAND_TIMEOUT_MS,
      }).catch((error: unknown) => {
        const { stdout, stderr } = error as { stdout?: string; stderr?: string };
        assert.fail(`${command}\n${stdout ?? ''}${stderr ?? String(error)}`);
      });
    }
    assert.ok(existsSync(join(folder, 'dist', 'package', 'template.json')));
    assert.ok(existsSync(join(folder, '.serverless', 'serverless-state.json')));
  });

  test('no command that could run here is left unmarked', () => {
    const unmarked = blocks('sh').filter(
      (code) => !/\b(?:aws|npm ci|npm run deploy|npx osls|npm run -s entrepot)\b/.test(code),
    );
    assert.deepEqual(unmarked, []);
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
