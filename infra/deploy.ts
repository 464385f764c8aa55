import { LambdaClient } from '@aws-sdk/client-lambda';
import { ConfigError } from '../lib/errors/cache-error.ts';
import { chosenSettings, packageConfig } from './packaging/inputs.ts';
import { packageCommand } from './packaging/command.ts';
import { osls } from './packaging/osls.ts';
import type { PackageOptions } from './packaging/package-application.ts';
import { waitingAdvice } from './packaging/waiting.ts';

/*
 * npm run deploy [-- --stage NAME --region REGION --param name=value …]: packages, and deploys with the AWS credentials of the environment. See docs/deploy.md.
 */
process.exitCode = await packageCommand('deploy', { check: regionOf, next: deploy });

/** Without this, osls would choose a region. */
function regionOf({ region, environment }: PackageOptions): string {
  const chosen = region ?? environment.AWS_REGION;
  if (chosen === undefined || chosen === '') throw new ConfigError('no region: set AWS_REGION, or add --region');
  return chosen;
}

async function deploy(options: PackageOptions): Promise<void> {
  const { folder, stage, environment, signal } = options;
  const region = regionOf(options);
  const config = packageConfig(folder, environment.ENTREPOT_CONFIG);
  const lambda = new LambdaClient({ region });
  console.log(`\n${await waitingAdvice(lambda, config, await chosenSettings(options), signal)}`);
  lambda.destroy();
  const parameters = options.parameters.flatMap((parameter) => ['--param', parameter]);
  const args = ['deploy', '--package', '.serverless', '--stage', stage, '--region', region, ...parameters];
  options.onStep?.('deploying with osls');
  const answer = await osls(args, { folder, environment, signal });
  options.onStep?.(undefined);
  console.log(`\n${answer.trim()}`);
}
