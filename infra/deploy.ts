import { ConfigError } from '../lib/errors/cache-error.ts';
import { packageCommand } from './packaging/command.ts';
import { osls } from './packaging/osls.ts';

/*
 * npm run deploy [-- --stage NAME --region REGION --param name=value …]: packages, and deploys with the AWS credentials of the environment. See docs/deploy.md.
 */
process.exitCode = await packageCommand('deploy', async (options) => {
  const { folder, stage, environment, signal } = options;
  const region = options.region ?? environment.AWS_REGION;
  // osls would fall back to a region that nobody chose.
  if (region === undefined || region === '') throw new ConfigError('no region: set AWS_REGION, or add --region');
  const parameters = options.parameters.flatMap((parameter) => ['--param', parameter]);
  const args = ['deploy', '--package', '.serverless', '--stage', stage, '--region', region, ...parameters];
  console.log(`\n${(await osls(args, { folder, environment, signal })).trim()}`);
});
