import type { Config } from '../../../lib/config/config.ts';
import { application } from '../../application.ts';
import { busName, FUNCTIONS, functionName, type FunctionName } from '../../names.ts';
import { CONTENT_DELETED, DELETIONS_READER } from '../../resources/queues.ts';
import { describeRules, type Rule } from '../../resources/rules.ts';
import { warmupEvent } from '../../resources/schedules.ts';
import { definitionValues } from '../../resources/state-machine.ts';
import { stackSettings } from '../../settings.ts';
import { workflowDefinition } from '../../workflow.ts';
import type { BusRule, EventPattern } from './event-bus.ts';
import { ACCOUNT_ID } from './gateway.ts';
import type { StackEndpoints } from '../local-stack.ts';
import { STATE_MACHINE_ARN } from '../states/executions.ts';
import type { Queue } from './queues.ts';
import type { Schedule } from './scheduler.ts';
import { readServiceFile, type ServiceFile } from './service-file.ts';

/** What would be deployed for a configuration, as this machine runs it. */
export interface Deployment {
  readonly service: ServiceFile;
  readonly region: string;
  /** The application's own bus. */
  readonly bus: string;
  /** In the Amazon States Language; tasks name functions by their ARNs. */
  readonly definition: object;
  readonly schedules: readonly Schedule[];
  /** The rules that match events. */
  readonly rules: readonly BusRule[];
}

export const STAGE = 'local';

/**
 * serverless.yml and the descriptions of infra/resources, from which the CloudFormation template is made, too. For the stage
 * `local` with default parameters.
 *
 * @throws Error naming what cannot be run here.
 */
export async function readDeployment(
  config: Config,
  { region, bucket }: Pick<StackEndpoints, 'region' | 'bucket'>,
): Promise<Deployment> {
  const rules = describeRules(config.events, { bucketName: bucket, stateMachineArn: STATE_MACHINE_ARN });
  const bus = busName(STAGE);
  return {
    service: await readServiceFile(application(stackSettings(STAGE, {}), config)),
    region,
    bus,
    definition: definitionIn(region),
    schedules: [
      ...Object.entries(rules).flatMap(([id, rule]) => ruleSchedule(id, rule, region)),
      ...config.warmups.map(({ name, schedule: expression, timeZone }) => ({
        name,
        expression,
        timeZone,
        functionName: 'warmup',
        event: (time: string) => warmupEvent(name, time),
      })),
    ],
    rules: Object.values(rules).flatMap(({ target, queue, onOwnBus = false, pattern }) => {
      if (pattern === undefined) return [];
      return {
        bus: onOwnBus ? bus : 'default',
        pattern: pattern as EventPattern,
        target: queue === undefined ? target : deletions(region),
      };
    }),
  };
}

/** The ARN of a function here. */
export const functionArnIn = (region: string, name: FunctionName): string =>
  `arn:aws:lambda:${region}:${ACCOUNT_ID}:function:${functionName(STAGE, name)}`;

/** The name in functions/ of the function with this ARN. */
export function functionNameOf(arn: string, region: string): string {
  const name = FUNCTIONS.find((candidate) => functionArnIn(region, candidate) === arn);
  if (name === undefined) throw new Error(`the state machine names ${arn}, which is not a function of the application`);
  return name;
}

function definitionIn(region: string): object {
  const values = definitionValues('aws', (name) => functionArnIn(region, name));
  const text = JSON.stringify(workflowDefinition());
  return JSON.parse(
    text.replaceAll(/\$\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder),
  ) as object;
}

function ruleSchedule(id: string, { target, schedule }: Rule, region: string): readonly Schedule[] {
  if (schedule === undefined) return [];
  const event = (time: string): object => ({
    version: '0',
    id: crypto.randomUUID(),
    'detail-type': 'Scheduled Event',
    source: 'aws.events',
    account: ACCOUNT_ID,
    time,
    region,
    resources: [`arn:aws:events:${region}:${ACCOUNT_ID}:rule/${id}`],
    detail: {},
  });
  return [{ name: id, expression: schedule, timeZone: 'UTC', functionName: target, event }];
}

function deletions(region: string): Queue {
  const { windowSeconds, ...reader } = DELETIONS_READER;
  return { ...reader, arn: `arn:aws:sqs:${region}:${ACCOUNT_ID}:${CONTENT_DELETED}`, windowMs: windowSeconds * 1000 };
}
