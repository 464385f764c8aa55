import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Template } from '../../infra/cloudformation.ts';
import { FUNCTIONS } from '../../infra/names.ts';
import { plainTemplate } from '../../infra/packaging/plain-template.ts';
import { compiledTemplate } from '../support/compiled-template.ts';
import { ALB_PARAMETERS, BEHIND_ALB, EVERYTHING, EVERY_PARAMETER, LITTLE } from '../support/packaged-config.ts';
import { lint } from './cfn-lint.ts';

/** osls writes `DependsOn` also where a reference says the same; the plain template is without. */
const OF_OSLS = 'W3005';

describe('cfn-lint', { timeout: 400_000 }, () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-cfn-lint-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function findingsOf(template: Template): Promise<readonly string[]> {
    const file = join(folder, 'template.json');
    await writeFile(file, JSON.stringify(template));
    return (await lint(file)).map(({ Rule, Message, Location }) => `${Rule.Id} ${Location.Path.join('/')}: ${Message}`);
  }

  for (const [name, config, parameters] of [
    ['a small configuration and no parameter', LITTLE, []],
    ['a configuration with everything and every parameter', EVERYTHING, EVERY_PARAMETER],
    ['a load balancer before the registry endpoint', BEHIND_ALB, ALB_PARAMETERS],
    ['an existing bucket and table', LITTLE, ['bucket=existing-bucket', 'table=existing-table']],
  ] as const) {
    test(`has nothing to say of the templates for ${name}`, async () => {
      const compiled = await compiledTemplate(config, { parameters });
      const ofOsls = await findingsOf(compiled);
      assert.deepEqual(
        ofOsls.filter((finding) => !finding.startsWith(OF_OSLS)),
        [],
      );
      const zips = FUNCTIONS.map((one) => ({ name: one, path: one, bytes: 1, sha256: '0'.repeat(64) }));
      assert.deepEqual(await findingsOf(plainTemplate(compiled, zips)), []);
    });
  }

  test('would see what is wrong', async () => {
    const compiled = await compiledTemplate(LITTLE);
    const { Bucket, ...others } = compiled.Resources;
    assert.ok(Bucket);
    assert.notDeepEqual(await findingsOf({ ...compiled, Resources: others }), []);
  });
});
