import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');
const elsewhere = mkdtempSync(join(tmpdir(), 'entrepot-bundle-'));
after(() => rmSync(elsewhere, { recursive: true, force: true }));

test('the bundle of npm run build answers without anything around it', { timeout: 300_000 }, async () => {
  const built = await run(process.execPath, [join(root, 'infra/build.ts')]);
  assert.match(built.stdout, /^pull +\d+ KiB/m);

  const bundle = pathToFileURL(join(root, 'dist/functions/pull/index.mjs')).href;
  const script = `
    const { handler } = await import(${JSON.stringify(bundle)});
    const context = { awsRequestId: 'id', getRemainingTimeInMillis: () => 3000 };
    await handler({ reference: 'alpine' }, context).catch(({ name, message }) => console.log(name, message));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: elsewhere,
    env: { POWERTOOLS_METRICS_DISABLED: 'true', POWERTOOLS_LOG_LEVEL: 'SILENT' },
  });
  assert.match(stdout, /^ConfigError ENTREPOT_BUCKET and ENTREPOT_TABLE are not set/);
});
