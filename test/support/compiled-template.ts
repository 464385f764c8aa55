import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../infra/bundles.ts';
import type { Template } from '../../infra/cloudformation.ts';
import { FUNCTIONS } from '../../infra/names.ts';
import { osls } from '../../infra/packaging/osls.ts';

const TIMEOUT_MS = 60_000;

/** A folder from which osls packages our application, with `entrepot.yaml` as given. Removed at the end. */
export async function serviceFolder(entrepotYaml: string): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'entrepot-service-'));
  for (const name of ['infra', 'lib', 'node_modules', 'package.json']) {
    await symlink(join(ROOT, name), join(path, name));
  }
  // osls takes no link for it.
  await copyFile(join(ROOT, 'serverless.yml'), join(path, 'serverless.yml'));
  await writeFile(join(path, 'entrepot.yaml'), entrepotYaml);
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** What osls makes of serverless.yml for this configuration and these parameters: everything but the code of the functions. */
export async function compiledTemplate(
  entrepotYaml: string,
  { stage = 'test', parameters = [] }: { stage?: string; parameters?: readonly string[] } = {},
): Promise<Template> {
  await using folder = await serviceFolder(entrepotYaml);
  await mkdir(join(folder.path, 'dist', 'zips'), { recursive: true });
  for (const name of FUNCTIONS) await writeFile(join(folder.path, 'dist', 'zips', `${name}.zip`), '');
  await osls(['package', '--stage', stage, ...parameters.flatMap((parameter) => ['--param', parameter])], {
    folder: folder.path,
    environment: { PATH: process.env.PATH },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const made = join(folder.path, '.serverless', 'cloudformation-template-update-stack.json');
  return JSON.parse(await readFile(made, 'utf8')) as Template;
}
