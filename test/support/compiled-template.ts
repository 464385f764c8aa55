import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../infra/bundles.ts';
import type { Template } from '../../infra/cloudformation.ts';
import { contentKey, madeOnce } from '../../infra/made-once.ts';
import { FUNCTIONS } from '../../infra/names.ts';
import { osls } from '../../infra/packaging/osls.ts';

const TIMEOUT_MS = 60_000;
/** What a template is made of, besides a configuration and parameters. npm writes the last one: which packages are installed. */
const SOURCES = ['serverless.yml', 'infra', 'lib', 'package.json', 'node_modules/.package-lock.json'];
const CACHE = join(ROOT, 'node_modules', '.cache', 'entrepot-templates');
const TEMPLATE = 'cloudformation-template-update-stack.json';

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

/**
 * What osls makes of serverless.yml for this configuration and these parameters: everything but the code of the functions. It takes two seconds, and is made
 * once of the same sources.
 */
export async function compiledTemplate(
  entrepotYaml: string,
  { stage = 'test', parameters = [] }: { stage?: string; parameters?: readonly string[] } = {},
): Promise<Template> {
  const args = ['package', '--stage', stage, ...parameters.flatMap((parameter) => ['--param', parameter])];
  const key = createHash('sha256')
    .update(JSON.stringify([contentKey(ROOT, SOURCES), process.version, entrepotYaml, args]))
    .digest('hex');
  const made = await madeOnce(CACHE, key.slice(0, 32), (folder) => compile(entrepotYaml, args, folder));
  return JSON.parse(await readFile(join(made, TEMPLATE), 'utf8')) as Template;
}

async function compile(entrepotYaml: string, args: readonly string[], outFolder: string): Promise<void> {
  await using folder = await serviceFolder(entrepotYaml);
  await mkdir(join(folder.path, 'dist', 'zips'), { recursive: true });
  for (const name of FUNCTIONS) await writeFile(join(folder.path, 'dist', 'zips', `${name}.zip`), '');
  await osls(args, {
    folder: folder.path,
    environment: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  await mkdir(outFolder);
  await copyFile(join(folder.path, '.serverless', TEMPLATE), join(outFolder, TEMPLATE));
}
