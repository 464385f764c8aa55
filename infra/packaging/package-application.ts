import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compileConfig } from '../../lib/config/compiled.ts';
import { ConfigError } from '../../lib/errors/cache-error.ts';
import { bundleFunctions, type Bundle } from '../bundles.ts';
import { violations } from '../checks/checks.ts';
import type { Template } from '../cloudformation.ts';
import { application } from '../application.ts';
import { FUNCTIONS } from '../names.ts';
import { chosenSettings, packageConfig } from './inputs.ts';
import { osls } from './osls.ts';
import { plainTemplate, plainZipName } from './plain-template.ts';
import { zipFunctions, type Zip, type ZipLevel } from './zips.ts';

export interface PackageOptions {
  /** Holds serverless.yml; `.serverless` and `dist` are written here. */
  readonly folder: string;
  readonly stage: string;
  readonly region?: string;
  /** `name=value`, as of `--param`. */
  readonly parameters: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  /** Compression level of the zips; by default the smallest. */
  readonly level?: ZipLevel;
  readonly signal: AbortSignal;
  /** Called with the current step, and with undefined at the end. */
  readonly onStep?: (step: string | undefined) => void;
}

export interface Packaged {
  readonly bundles: readonly Bundle[];
  readonly zips: readonly Zip[];
  /** Absolute paths: the template of osls, and the folder for other tools. */
  readonly oslsTemplate: string;
  readonly plainFolder: string;
}

/** Nothing else of the environment reaches osls: without credentials and proxy it cannot look anything up. */
const VARIABLES = ['PATH', 'HOME', 'TMPDIR', 'NODE_COMPILE_CACHE', 'ENTREPOT_CONFIG', 'AWS_REGION'];

/**
 * Makes everything that a deployment needs, without network and credentials: zips with the compiled configuration, `.serverless/` for `osls deploy
 * --package`, and `dist/package/` (template, zips, checksums) for everything else.
 *
 * @throws ConfigError that lists all problems of the configuration, or all of the parameters; Error if a template lacks a property of infra/checks.
 */
export async function packageApplication(options: PackageOptions): Promise<Packaged> {
  const { folder, environment, signal, onStep = () => undefined } = options;
  const config = packageConfig(folder, environment.ENTREPOT_CONFIG);
  // osls would repeat the same problems for each part of the template.
  application(await chosenSettings(options), config);

  onStep('bundling the functions');
  const bundles = await bundleFunctions(join(folder, 'dist', 'functions'));
  const names = bundles.map(({ name }) => name).sort();
  const expected = [...FUNCTIONS].sort();
  if (names.join() !== expected.join()) {
    throw new Error(
      `functions/ has ${names.join(', ')}; serverless.yml and infra/names.ts have ${expected.join(', ')}`,
    );
  }
  signal.throwIfAborted();
  onStep('zipping the functions');
  const zips = await zipFunctions(bundles, compileConfig(config), join(folder, 'dist', 'zips'), options.level);

  onStep('making the template with osls');
  const oslsTemplate = await compiledTemplate(options);
  const compiled = JSON.parse(await readFile(oslsTemplate, 'utf8')) as Template;
  requireSecure(compiled, 'the template of osls');
  const plain = plainTemplate(compiled, zips);
  requireSecure(plain, 'the plain template');
  const plainFolder = join(folder, 'dist', 'package');
  await writePlain(plainFolder, plain, zips);
  return { bundles, zips, oslsTemplate, plainFolder };
}

/** `.serverless/`, made by osls. */
async function compiledTemplate(options: PackageOptions): Promise<string> {
  const { folder, stage, region, parameters, signal } = options;
  const environment = Object.fromEntries(VARIABLES.map((name) => [name, options.environment[name]]));
  const args = [
    'package',
    ...['--stage', stage],
    ...(region === undefined ? [] : ['--region', region]),
    ...parameters.flatMap((parameter) => ['--param', parameter]),
  ];
  await rm(join(folder, '.serverless'), { recursive: true, force: true });
  await osls(args, { folder, environment, signal });
  return join(folder, '.serverless', 'cloudformation-template-update-stack.json');
}

function requireSecure(template: Template, name: string): void {
  const found = violations(template);
  if (found.length > 0) throw new ConfigError([`${name} lacks what infra/checks requires`, ...found].join('\n  '));
}

async function writePlain(folder: string, template: Template, zips: readonly Zip[]): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const text = `${JSON.stringify(template, null, 1)}\n`;
  await writeFile(join(folder, 'template.json'), text);
  for (const zip of zips) await copyFile(zip.path, join(folder, plainZipName(zip)));
  const sums = [
    `${createHash('sha256').update(text).digest('hex')}  template.json`,
    ...zips.map((zip) => `${zip.sha256}  ${plainZipName(zip)}`),
  ];
  await writeFile(join(folder, 'SHA256SUMS'), `${sums.join('\n')}\n`);
}
