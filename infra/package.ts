import { packageCommand } from './packaging/command.ts';

/*
 * npm run package [-- --stage NAME --region REGION --param name=value …]: everything that a deployment needs, offline. See docs/deploy.md.
 */
process.exitCode = await packageCommand('package');
