import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { functionSpecs } from '../../../infra/local/app/core.ts';
import { readDeployment } from '../../../infra/local/app/deployment.ts';
import { FUNCTIONS } from '../../../infra/names.ts';
import { loadConfig } from '../../../lib/config/config.ts';

test("Docker's configuration is handed to the functions that ask registries, and to no other", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-core-'));
  try {
    const config = loadConfig({}, folder);
    const deployment = await readDeployment(config, { region: 'us-east-1', bucket: 'b' });
    const taskRoots = new Map(FUNCTIONS.map((name) => [name, join('/task', name)]));
    const known = { ENTREPOT_BUCKET: 'b', ENTREPOT_TABLE: 't', ENTREPOT_STATE_MACHINE: 'm', ENTREPOT_BUS: 'bus' };
    const foldersOf = (dockerConfigPath: string | undefined): Record<string, string | undefined> => {
      const specs = functionSpecs({ deployment, taskRoots, runtime: ['node'], logs: folder, dockerConfigPath }, known);
      return Object.fromEntries(specs.map(({ name, variables }) => [name, variables().DOCKER_CONFIG]));
    };
    const asking = ['fetch', 'pull', 'plan', 'copy', 'warmup'];
    for (const docker of [undefined, '/home/me/.docker', '/elsewhere']) {
      assert.deepEqual(
        foldersOf(docker === undefined ? undefined : join(docker, 'config.json')),
        Object.fromEntries(FUNCTIONS.map((name) => [name, asking.includes(name) ? docker : undefined])),
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
