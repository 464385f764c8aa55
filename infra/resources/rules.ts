import { attribute, ref, sub, type Resource, type Resources, type Value } from '../cloudformation.ts';
import type { CompiledConfig } from '../../lib/config/compiled.ts';
import { busArn, busName, functionId, SERVICE, stateMachineArn, type FunctionName } from '../names.ts';
import { coarsePatterns } from './coarse-patterns.ts';
import { CONTENT_DELETED, CONTENT_DELETED_RULE, UNDELIVERED_EVENTS } from './queues.ts';
import type { Storage } from './storage.ts';

/** EventBridge's own retries before an event goes to the dead-letter queue. */
const RETRY_POLICY = { MaximumEventAgeInSeconds: 3600, MaximumRetryAttempts: 20 };

/** The detail type of events that ask for pulls; what their detail may be is in lib/events. */
export const PULL_DETAIL_TYPE = 'Pull Image';

/** Events that match, or moments of a schedule, and the function that gets them. */
export interface Rule {
  readonly target: FunctionName;
  /** The queue that the target reads. Without it the rule invokes the target for each event. */
  readonly queue?: typeof CONTENT_DELETED;
  readonly description: string;
  /** The application's own bus, instead of the default one. */
  readonly onOwnBus?: boolean;
  readonly pattern?: Value;
  readonly schedule?: string;
}

/** What the patterns name: in a template as CloudFormation resolves it, in the local application as it is. */
export interface PatternNames {
  readonly bucketName: Value;
  readonly stateMachineArn: Value;
}

/** The rules, by logical id. The template is made from them, and the local application runs them. */
export function describeRules(
  { ecrPushes }: CompiledConfig['events'],
  { bucketName, stateMachineArn }: PatternNames,
): Readonly<Record<string, Rule>> {
  const pushed = ecrPushes.flatMap(repositoryPatterns);
  return {
    PullRequestRule: {
      target: 'events',
      description: 'Pulls what an event on the bus asks for',
      onOwnBus: true,
      pattern: {
        // The cache's own announcements never start a pull: two caches could keep each other busy.
        source: [{ 'anything-but': [SERVICE] }],
        // Whatever its detail is: a malformed request ends in the dead-letter queue instead of being dropped.
        'detail-type': [PULL_DETAIL_TYPE],
      },
    },
    ExecutionEndedRule: {
      target: 'oversee',
      description: 'Ends the pulls of executions that stopped without their last task',
      pattern: {
        source: ['aws.states'],
        'detail-type': ['Step Functions Execution Status Change'],
        detail: { stateMachineArn: [stateMachineArn], status: ['FAILED', 'TIMED_OUT', 'ABORTED'] },
      },
    },
    [CONTENT_DELETED_RULE]: {
      target: 'events',
      queue: CONTENT_DELETED,
      description: 'Records content that is deleted from the bucket',
      pattern: {
        source: ['aws.s3'],
        'detail-type': ['Object Deleted'],
        detail: { bucket: { name: [bucketName] }, object: { key: [{ prefix: 'blobs/' }] } },
      },
    },
    OverseeRule: {
      target: 'oversee',
      description: 'Looks after running pulls',
      schedule: 'rate(5 minutes)',
    },
    ...(pushed.length === 0
      ? {}
      : {
          EcrPushRule: {
            target: 'events' as const,
            description: 'Pulls what was pushed to the listed repositories of ECR',
            pattern: {
              source: ['aws.ecr'],
              'detail-type': ['ECR Image Action'],
              detail: {
                'action-type': ['PUSH'],
                result: ['SUCCESS'],
                'repository-name': pushed,
              },
            },
          },
        }),
  };
}

/** The bus with its policy, and the rules by which events come to functions. */
export function rules(
  stage: string,
  { events }: CompiledConfig,
  { bucketName }: Pick<Storage, 'bucketName'>,
): { resources: Resources; ruleIds: readonly string[] } {
  const all = describeRules(events, { bucketName, stateMachineArn: stateMachineArn(stage) });
  const made = Object.entries(all).map(([id, rule]) => Object.entries(ruleResources(id, rule)));
  return {
    resources: { ...bus(stage, events.senders), ...Object.fromEntries(made.flat()) },
    ruleIds: Object.keys(all),
  };
}

/** A coarse filter: the function checks exactly. EventBridge has no "?", and allows no two "*" in a row. */
const repositoryPatterns = (glob: string): readonly Value[] => [
  ...new Map(
    coarsePatterns(glob)
      .map((pattern) => pattern.replace(/[*?]+/g, '*'))
      .map((pattern): [string, Value] => [pattern, pattern.includes('*') ? { wildcard: pattern } : pattern]),
  ).values(),
];

function ruleResources(id: string, rule: Rule): Resources {
  const { target, queue, description, onOwnBus = false, pattern, schedule } = rule;
  const permission: Resource = {
    Type: 'AWS::Lambda::Permission',
    Properties: {
      FunctionName: attribute(functionId(target), 'Arn'),
      Action: 'lambda:InvokeFunction',
      Principal: 'events.amazonaws.com',
      SourceArn: attribute(id, 'Arn'),
    },
  };
  return {
    [id]: {
      Type: 'AWS::Events::Rule',
      Properties: {
        Description: description,
        ...(onOwnBus ? { EventBusName: ref('Bus') } : {}),
        ...(pattern === undefined ? {} : { EventPattern: pattern }),
        ...(schedule === undefined ? {} : { ScheduleExpression: schedule }),
        Targets: [
          {
            Id: target,
            Arn: attribute(queue ?? functionId(target), 'Arn'),
            RetryPolicy: RETRY_POLICY,
            DeadLetterConfig: { Arn: attribute(UNDELIVERED_EVENTS, 'Arn') },
          },
        ],
      },
    },
    ...(queue === undefined ? { [`${id}Permission`]: permission } : {}),
  };
}

/** Anyone in this account who may put events may put them here. Other accounts must be configured, and cannot use our source. */
function bus(stage: string, senders: readonly string[]): Resources {
  const policies = senders.map((account): [string, Resource] => [
    `BusPolicy${account}`,
    {
      Type: 'AWS::Events::EventBusPolicy',
      Properties: {
        EventBusName: ref('Bus'),
        StatementId: `account-${account}`,
        Statement: {
          Effect: 'Allow',
          Principal: { AWS: sub(`arn:\${AWS::Partition}:iam::${account}:root`) },
          Action: 'events:PutEvents',
          Resource: busArn(stage),
          Condition: {
            StringEquals: { 'events:detail-type': PULL_DETAIL_TYPE },
            StringNotEquals: { 'events:source': SERVICE },
          },
        },
      },
    },
  ]);
  return {
    Bus: { Type: 'AWS::Events::EventBus', Properties: { Name: busName(stage) } },
    ...Object.fromEntries(policies),
  };
}
