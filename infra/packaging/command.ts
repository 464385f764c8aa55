import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { statusOn } from '../../lib/cli/status.ts';
import { ConfigError } from '../../lib/errors/cache-error.ts';
import { ROOT } from '../bundles.ts';
import { OslsError } from './osls.ts';
import { packageApplication, type Packaged, type PackageOptions } from './package-application.ts';

const WRONG_CONFIGURATION = 2;
const WRONG_USE = 64;
const USAGE = '[-- --stage NAME --region REGION --param name=value …]';

/** What a command does before and after packaging. */
interface Around {
  /** Before anything is made. @throws ConfigError */
  readonly check?: (options: PackageOptions) => void;
  readonly next?: (options: PackageOptions) => Promise<void>;
}

/** Packages as the command line says, prints what it made, and calls `next`. Returns the exit status. */
export async function packageCommand(name: string, { check, next }: Around = {}): Promise<number> {
  const interrupted = new AbortController();
  process.once('SIGINT', () => {
    interrupted.abort(new Error('interrupted'));
  });
  const display = statusOn(process.stderr);
  const onStep = (step: string | undefined): void => display.show(step);
  let options: PackageOptions;
  try {
    options = { ...optionsOf(process.argv.slice(2)), signal: interrupted.signal, onStep };
  } catch (error) {
    console.error(`${(error as Error).message}\nusage: npm run ${name} ${USAGE}`);
    return WRONG_USE;
  }
  try {
    check?.(options);
    const packaged = await packageApplication(options);
    onStep(undefined);
    print(packaged, options);
    await next?.(options);
    return 0;
  } catch (error) {
    onStep(undefined);
    const { message, stack } = error as Error;
    const isForUsers = error instanceof ConfigError || error instanceof OslsError;
    console.error(isForUsers ? message : stack);
    return error instanceof ConfigError ? WRONG_CONFIGURATION : 1;
  }
}

function optionsOf(args: readonly string[]): Omit<PackageOptions, 'signal'> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      stage: { type: 'string', default: 'dev' },
      region: { type: 'string' },
      param: { type: 'string', multiple: true, default: [] },
    },
  });
  const { stage, region, param: parameters } = values;
  return { folder: ROOT, stage, parameters, environment: process.env, ...(region === undefined ? {} : { region }) };
}

const kib = (bytes: number): string => `${(bytes / 1024).toFixed(0)} KiB`.padStart(9);

function print({ zips, oslsTemplate, plainFolder }: Packaged, options: PackageOptions): void {
  for (const { name, bytes } of zips) console.log(`${name.padEnd(9)} ${kib(bytes)} zipped`);
  console.log(
    `\n${relative(ROOT, oslsTemplate)}\n  for: npx osls deploy --package .serverless --stage ${options.stage}`,
  );
  console.log(
    `${relative(ROOT, plainFolder)}/\n  template.json, zips and SHA256SUMS, for anything else that deploys CloudFormation`,
  );
}
