import type { Config } from '../../../lib/config/config.ts';
import { application } from '../../application.ts';
import type { Resources } from '../../cloudformation.ts';
import { functionArn, FUNCTIONS, stateMachineArn } from '../../names.ts';
import { stackSettings } from '../../settings.ts';
import { readServiceFile, type ServiceFile } from './service-file.ts';
import { busNames, resolved, type TemplateContext } from './template.ts';

/** What would be deployed for a configuration, read for this machine. */
export interface Deployment {
  readonly service: ServiceFile;
  readonly resources: Resources;
  /** The application's own bus. */
  readonly bus: string;
  /** What the state machine would be called in an account. */
  readonly machineArn: string;
  /** In the Amazon States Language; tasks name functions by their ARNs. */
  readonly definition: object;
  readonly context: TemplateContext;
}

export const STAGE = 'local';
export const ACCOUNT_ID = '000000000000';

/**
 * serverless.yml and infra/application.ts, for the stage `local` with default parameters.
 *
 * @throws Error naming what cannot be run here.
 */
export async function readDeployment(config: Config, region: string): Promise<Deployment> {
  const deployed = application(stackSettings(STAGE, {}), config);
  const resources = deployed.resources.Resources;
  const context: TemplateContext = { region, accountId: ACCOUNT_ID, arns: new Map(), refs: new Map() };
  const [bus] = busNames(resources);
  if (bus === undefined) throw new Error('the template has no event bus');
  return {
    service: await readServiceFile(deployed),
    resources,
    bus,
    machineArn: String(resolved(stateMachineArn(STAGE), context)),
    definition: definitionOf(resources, context),
    context,
  };
}

/** The name in functions/ of the function with this ARN. */
export function functionNameOf(arn: string, context: TemplateContext): string {
  const name = FUNCTIONS.find((candidate) => resolved(functionArn(STAGE, candidate), context) === arn);
  if (name === undefined) throw new Error(`the state machine names ${arn}, which is no function of the application`);
  return name;
}

function definitionOf(resources: Resources, context: TemplateContext): object {
  const { DefinitionString: definition } = resources.Workflow?.Properties ?? {};
  const text = definition === undefined ? undefined : resolved(definition, context);
  if (typeof text !== 'string')
    throw new Error('the template has no state machine "Workflow" with its definition as text');
  return JSON.parse(text) as object;
}
