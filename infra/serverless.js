import { application } from './application.ts';
import { packageConfig } from './packaging/inputs.ts';
import { PARAMETERS, stackSettings } from './settings.ts';

/*
 * Where serverless.yml meets the TypeScript of infra/: `${file(infra/serverless.js):<part>}` is that part of the application, for the parameters that osls
 * resolved. JavaScript, because osls loads files by their ending.
 */

/** One part of the application. osls asks again where it could not resolve the parameters yet, so nothing is kept between two calls. */
async function make({ resolveVariable }) {
  const stage = await resolveVariable('sls:stage');
  const parameters = {};
  for (const name of PARAMETERS) parameters[name] = await resolveVariable(`param:${name}`);
  return application(stackSettings(stage, parameters), packageConfig(process.cwd(), process.env.ENTREPOT_CONFIG));
}

const part = (name) => async (variables) => (await make(variables))[name];

export const resources = part('resources');
export const environment = part('environment');
export const vpc = part('vpc');
export const stackTags = part('stackTags');
export const logRetentionDays = part('logRetentionDays');
export const authorizers = part('authorizers');
export const authorizer = part('authorizer');
export const registryEvents = part('registryEvents');
export const copyMemory = part('copyMemory');
export const copyConcurrency = part('copyConcurrency');
export const registryConcurrency = part('registryConcurrency');
