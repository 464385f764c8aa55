import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Problem } from '../../../lib/http/problem.ts';
import { httpEvent } from '../../support/http-event.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');
const elsewhere = mkdtempSync(join(tmpdir(), 'entrepot-bundle-'));
after(() => rmSync(elsewhere, { recursive: true, force: true }));

test('the bundle of npm run build answers without anything around it', { timeout: 60_000 }, async () => {
  const built = await run(process.execPath, [join(root, 'infra/build.ts')]);
  assert.match(built.stdout, /^dist\/functions\/pull\.mjs {2}\d+ KiB/m);

  const bundle = pathToFileURL(join(root, 'dist/functions/pull.mjs')).href;
  const script = `
    const { handler } = await import(${JSON.stringify(bundle)});
    const context = { awsRequestId: 'id', getRemainingTimeInMillis: () => 3000 };
    console.log(JSON.stringify(await handler(${JSON.stringify(httpEvent('{"reference":"UPPER"}'))}, context)));`;
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: elsewhere,
    env: {},
  });
  assert.equal(stderr, '');
  const answer = JSON.parse(stdout) as { statusCode: number; body: string };
  assert.equal(answer.statusCode, 400);
  assert.equal((JSON.parse(answer.body) as Problem).field, 'reference');
});
