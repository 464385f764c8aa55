import { attribute, ref, type Resource, type Resources, type Value } from '../cloudformation.ts';
import { functionArn, FUNCTIONS, roleId, stateMachineArn, type FunctionName } from '../names.ts';
import type { StackSettings } from '../settings.ts';
import { allow, statementsOf, type Capability, type Statement, type Surroundings } from './policies.ts';
import { UNDELIVERED_EVENTS } from './queues.ts';

const CAPABILITIES: Readonly<Record<FunctionName, readonly Capability[]>> = {
  // Answers hits, starts pulls, validates what is there, removes tags, signs passwords; it asks no registry.
  api: ['table', 'readBlobs', 'writeRefs', 'startPulls', 'signPasswords'],
  // Serves what is cached, starts pulls, and has `fetch` ask the registries and write the catalogue. It is reachable from the internet, so it holds no credentials,
  // and can change neither content nor what a repository serves, nor sign a password.
  registry: ['endpointTable', 'readBlobs', 'startPulls', 'fetch', 'readUsers'],
  // Asks the registries what a tag means, and stores the manifests that they answer.
  fetch: ['table', 'readBlobs', 'writeBlobs', 'registries'],
  // The whole pull in one process.
  pull: ['table', 'readBlobs', 'writeBlobs', 'writeRefs', 'registries', 'announce', 'failedEvents'],
  // Stores the manifests, and publishes by itself what needs no copying.
  plan: ['table', 'readBlobs', 'writeBlobs', 'writeRefs', 'writePlans', 'readPlans', 'registries', 'announce'],
  copy: ['table', 'readBlobs', 'writeBlobs', 'readPlans', 'registries'],
  publish: ['table', 'readBlobs', 'writeRefs', 'readPlans', 'announce'],
  fail: ['table', 'announce'],
  oversee: ['table', 'seePulls', 'announce', 'failedEvents'],
  warmup: ['table', 'registries', 'startPulls', 'announce', 'failedEvents'],
  // Checks content that is reported as deleted.
  events: ['table', 'readBlobs', 'startPulls', 'failedEvents', 'readDeletions'],
};

/** Whether the function asks registries, with their credentials. */
export const asksRegistries = (name: FunctionName): boolean => CAPABILITIES[name].includes('registries');

/** Functions that the state machine calls. */
export const TASKS = ['plan', 'copy', 'publish', 'fail'] as const satisfies readonly FunctionName[];

/** One role for each function, one for the state machine, and one for the schedules where there are any. */
export function roles(surroundings: Surroundings): Resources {
  const { settings, config } = surroundings;
  const ofFunctions = FUNCTIONS.map((name): [string, Resource] => {
    const statements = statementsOf(name, CAPABILITIES[name], surroundings);
    return [roleId(name), role(settings, 'lambda.amazonaws.com', statements)];
  });
  return {
    ...Object.fromEntries(ofFunctions),
    WorkflowRole: workflowRole(settings),
    ...(config.warmups.length === 0 ? {} : { SchedulerRole: schedulerRole(settings) }),
  };
}

function workflowRole(settings: StackSettings): Resource {
  const tasks = TASKS.map((name) => functionArn(settings.stage, name));
  return role(
    settings,
    'states.amazonaws.com',
    [
      allow(['lambda:InvokeFunction'], tasks),
      // Deliveries of logs have no resource that a policy could name: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
      allow(
        [
          'logs:CreateLogDelivery',
          'logs:DeleteLogDelivery',
          'logs:DescribeLogGroups',
          'logs:DescribeResourcePolicies',
          'logs:GetLogDelivery',
          'logs:ListLogDeliveries',
          'logs:PutResourcePolicy',
          'logs:UpdateLogDelivery',
        ],
        ['*'],
      ),
    ],
    { ArnEquals: { 'aws:SourceArn': stateMachineArn(settings.stage) } },
  );
}

function schedulerRole(settings: StackSettings): Resource {
  return role(settings, 'scheduler.amazonaws.com', [
    allow(['lambda:InvokeFunction'], [functionArn(settings.stage, 'warmup')]),
    allow(['sqs:SendMessage'], [attribute(UNDELIVERED_EVENTS, 'Arn')]),
  ]);
}

function role(
  { rolePath, permissionsBoundary }: StackSettings,
  service: string,
  statements: readonly Statement[],
  more: Readonly<Record<string, Value>> = {},
): Resource {
  // Lambda names no source when it assumes a role.
  const ofThisAccount: Value | undefined =
    service === 'lambda.amazonaws.com'
      ? undefined
      : { StringEquals: { 'aws:SourceAccount': ref('AWS::AccountId') }, ...more };
  return {
    Type: 'AWS::IAM::Role',
    Properties: {
      Path: rolePath,
      ...(permissionsBoundary === undefined ? {} : { PermissionsBoundary: permissionsBoundary }),
      AssumeRolePolicyDocument: {
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { Service: service },
            Action: 'sts:AssumeRole',
            ...(ofThisAccount === undefined ? {} : { Condition: ofThisAccount }),
          },
        ],
      },
      Policies: [{ PolicyName: 'work', PolicyDocument: { Version: '2012-10-17', Statement: statements } }],
    },
  };
}
