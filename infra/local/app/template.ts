import type { Resources, Value } from '../../cloudformation.ts';
import { FUNCTIONS, functionId } from '../../names.ts';
import type { BusRule, EventPattern } from './event-bus.ts';
import type { Queue } from './queues.ts';
import type { Schedule } from './scheduler.ts';

type Properties = Readonly<Record<string, Value>>;

/** What CloudFormation would put in place of its intrinsic functions. */
export interface TemplateContext {
  readonly region: string;
  readonly accountId: string;
  /** ARNs that are other ones here than in an account, by those. */
  readonly arns: ReadonlyMap<string, string>;
  /** What `Ref` of a resource is, where it is known here. */
  readonly refs: ReadonlyMap<string, string>;
}

/** The rules of the template that match events. */
export function busRules(resources: Resources, context: TemplateContext): readonly BusRule[] {
  return resourcesOf(resources, 'AWS::Events::Rule').flatMap(([, properties]) => {
    const { EventPattern: pattern, EventBusName: bus } = properties;
    if (pattern === undefined) return [];
    return targetsOf(properties).map((arn) => ({
      bus: bus === undefined ? 'default' : busNameOf(resources, bus),
      pattern: resolved(pattern, context) as EventPattern,
      target: queueOf(resources, arn, context) ?? functionOf(arn),
    }));
  });
}

/** The names of the buses of the template. */
export function busNames(resources: Resources): readonly string[] {
  return resourcesOf(resources, 'AWS::Events::EventBus').map(([, properties]) => text(properties, 'Name'));
}

/** The schedules of the template: rules with a rate, by their logical ids, and those of EventBridge Scheduler, by their names. */
export function schedulesOf(resources: Resources, context: TemplateContext): readonly Schedule[] {
  return [...ruleSchedules(resources, context), ...schedulerSchedules(resources)];
}

function ruleSchedules(resources: Resources, { region, accountId }: TemplateContext): readonly Schedule[] {
  return resourcesOf(resources, 'AWS::Events::Rule').flatMap(([id, properties]) => {
    if (properties.ScheduleExpression === undefined) return [];
    return targetsOf(properties).map((arn) => ({
      name: id,
      expression: text(properties, 'ScheduleExpression'),
      timeZone: 'UTC',
      functionName: functionOf(arn),
      event: (time: string) => ({
        version: '0',
        id: crypto.randomUUID(),
        'detail-type': 'Scheduled Event',
        source: 'aws.events',
        account: accountId,
        time,
        region,
        resources: [`arn:aws:events:${region}:${accountId}:rule/${id}`],
        detail: {},
      }),
    }));
  });
}

function schedulerSchedules(resources: Resources): readonly Schedule[] {
  return resourcesOf(resources, 'AWS::Scheduler::Schedule').map(([, properties]) => {
    const target = properties.Target as Properties;
    const input = text(target, 'Input');
    return {
      name: text(properties, 'Name'),
      expression: text(properties, 'ScheduleExpression'),
      timeZone:
        properties.ScheduleExpressionTimezone === undefined ? 'UTC' : text(properties, 'ScheduleExpressionTimezone'),
      functionName: functionOf(target.Arn),
      event: (time) => JSON.parse(input.replaceAll('<aws.scheduler.scheduled-time>', time)) as unknown,
    };
  });
}

/** What CloudFormation makes of the value, as far as resources that run here need it. */
export function resolved(value: Value, context: TemplateContext): unknown {
  if (Array.isArray(value)) return (value as readonly Value[]).map((item) => resolved(item, context));
  if (typeof value !== 'object') return value;
  const entries = Object.entries(value as Properties);
  const [[name, argument] = []] = entries;
  const pseudo: Readonly<Record<string, string>> = {
    'AWS::Partition': 'aws',
    'AWS::Region': context.region,
    'AWS::AccountId': context.accountId,
  };
  const known =
    name === 'Ref' && typeof argument === 'string' ? (pseudo[argument] ?? context.refs.get(argument)) : undefined;
  if (known !== undefined) return known;
  if (name === 'Fn::Sub') {
    const text = substituted(argument, pseudo, context);
    return context.arns.get(text) ?? text;
  }
  if (name === 'Ref' || name?.startsWith('Fn::') === true) {
    throw new Error(`the template has ${JSON.stringify(value)} where the local application must know what it is`);
  }
  return Object.fromEntries(entries.map(([key, item]) => [key, resolved(item, context)]));
}

/** `Fn::Sub` of a text, or of a text and what it may name beside CloudFormation's own parameters. */
function substituted(
  argument: Value | undefined,
  pseudo: Readonly<Record<string, string>>,
  context: TemplateContext,
): string {
  const [text, named = {}] = (Array.isArray(argument) ? argument : [argument]) as unknown as readonly [
    string,
    Properties?,
  ];
  const known = { ...pseudo, ...(resolved(named, context) as Readonly<Record<string, string>>) };
  return text.replaceAll(/\$\{([^}]*)\}/g, (_whole, name: string) => {
    if (known[name] !== undefined) return known[name];
    throw new Error(`the template names \${${name}}, of which only CloudFormation knows what it is`);
  });
}

const resourcesOf = (resources: Resources, type: string): readonly (readonly [id: string, properties: Properties])[] =>
  Object.entries(resources)
    .filter(([, resource]) => resource.Type === type)
    .map(([id, resource]) => [id, resource.Properties ?? {}]);

const targetsOf = ({ Targets: targets }: Properties): readonly Value[] =>
  (targets as readonly { readonly Arn: Value }[]).map(({ Arn: arn }) => arn);

/** The resource whose ARN it is. */
const idOf = (arn: Value | undefined): string | undefined =>
  (arn as { readonly 'Fn::GetAtt'?: readonly string[] } | undefined)?.['Fn::GetAtt']?.[0];

/** The queue of the template with this ARN, and how its function reads it; undefined where it is no queue. */
function queueOf(resources: Resources, arn: Value, { region, accountId }: TemplateContext): Queue | undefined {
  const [id, queue] = resourcesOf(resources, 'AWS::SQS::Queue').find(([one]) => one === idOf(arn)) ?? [];
  if (id === undefined || queue === undefined) return undefined;
  const [, mapping] =
    resourcesOf(resources, 'AWS::Lambda::EventSourceMapping').find(
      ([, { EventSourceArn: source }]) => idOf(source) === id,
    ) ?? [];
  if (mapping === undefined) throw new Error(`the template has a rule with the queue ${id}, which no function reads`);
  return {
    arn: `arn:aws:sqs:${region}:${accountId}:${id}`,
    functionName: functionOf(mapping.FunctionName),
    batchSize: count(mapping, 'BatchSize'),
    windowMs: 1000 * count(mapping, 'MaximumBatchingWindowInSeconds'),
    concurrency: count(mapping.ScalingConfig as Properties, 'MaximumConcurrency'),
    maxReceives: count(queue.RedrivePolicy as Properties, 'maxReceiveCount'),
  };
}

function functionOf(arn: Value | undefined): string {
  const id = idOf(arn);
  const name = FUNCTIONS.find((candidate) => functionId(candidate) === id);
  if (name === undefined) throw new Error(`the template has the target ${JSON.stringify(arn)}, which is no function`);
  return name;
}

function busNameOf(resources: Resources, bus: Value): string {
  const { Ref: id } = bus as { readonly Ref?: string };
  const properties = id === undefined ? undefined : resources[id]?.Properties;
  if (properties === undefined) {
    throw new Error(`the template has a rule on ${JSON.stringify(bus)}, which is no bus of its own`);
  }
  return text(properties, 'Name');
}

function text(properties: Properties, name: string): string {
  const value = properties[name];
  if (typeof value === 'string') return value;
  throw new Error(`the template has ${JSON.stringify(value)} as ${name}; the local application needs text there`);
}

function count(properties: Properties | undefined, name: string): number {
  const value = properties?.[name];
  if (typeof value === 'number') return value;
  throw new Error(`the template has ${JSON.stringify(value)} as ${name}; the local application needs a number there`);
}
