import { arn, type Value } from './cloudformation.ts';

/*
 * Names that are needed before the resource exists: functions, the state machine and the bus refer to each other, and CloudFormation
 * allows no circles. CloudFormation names everything else.
 */

/** The service of serverless.yml, and the first word of every name. */
export const SERVICE = 'entrepot';

/** The functions of serverless.yml; each is a file in functions/. */
export const FUNCTIONS = [
  'api',
  'registry',
  'fetch',
  'pull',
  'plan',
  'copy',
  'publish',
  'fail',
  'oversee',
  'warmup',
  'events',
] as const;
export type FunctionName = (typeof FUNCTIONS)[number];

/** Of everything that has a stage's name in it. */
export const stackName = (stage: string): string => `${SERVICE}-${stage}`;

export const functionName = (stage: string, name: FunctionName): string => `${stackName(stage)}-${name}`;
export const functionArn = (stage: string, name: FunctionName): Value =>
  arn('lambda', `function:${functionName(stage, name)}`);

export const stateMachineName = (stage: string): string => `${stackName(stage)}-pull`;
export const stateMachineArn = (stage: string): Value => arn('states', `stateMachine:${stateMachineName(stage)}`);
/** Of every execution of the state machine. */
export const executionArns = (stage: string): Value => arn('states', `execution:${stateMachineName(stage)}:*`);

export const busName = (stage: string): string => stackName(stage);
export const busArn = (stage: string): Value => arn('events', `event-bus/${busName(stage)}`);

/** The dimension `service` of every metric that the functions write. */
export const metricsService = (stage: string): string => stackName(stage);

/** As osls makes them from the names of the functions. */
export const functionId = (name: FunctionName): string => `${capitalised(name)}LambdaFunction`;
export const roleId = (name: FunctionName): string => `${capitalised(name)}Role`;

export const capitalised = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1);
