import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Value } from '../../../infra/cloudformation.ts';
import { functionArnIn, readDeployment, STAGE } from '../../../infra/local/app/deployment.ts';
import { ACCOUNT_ID } from '../../../infra/local/app/gateway.ts';
import { DEFAULT_PATH } from '../../../infra/local/app/gateway.ts';
import { STATE_MACHINE_ARN } from '../../../infra/local/states/executions.ts';
import { functionId, FUNCTIONS, stateMachineName } from '../../../infra/names.ts';
import { loadConfig } from '../../../lib/config/config.ts';
import { compiledTemplate } from '../../support/compiled-template.ts';
import { EVERYTHING } from '../../support/packaged-config.ts';

type Properties = Readonly<Record<string, Value>>;
type Plain = Readonly<Record<string, unknown>>;

const YAML = EVERYTHING.slice(0, EVERYTHING.indexOf('access:'));
const REGION = 'us-east-1';
const HERE = { region: REGION, bucket: 'the-bucket' };
const template = await compiledTemplate(YAML, { stage: STAGE });
const deployment = await deploymentOf(YAML);

const PSEUDO: Readonly<Record<string, string>> = {
  'AWS::Partition': 'aws',
  'AWS::Region': REGION,
  'AWS::AccountId': ACCOUNT_ID,
  Bucket: HERE.bucket,
  Bus: deployment.bus,
};

async function deploymentOf(yaml: string): ReturnType<typeof readDeployment> {
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-description-'));
  try {
    writeFileSync(join(folder, 'entrepot.yaml'), yaml);
    return await readDeployment(loadConfig({}, folder), HERE);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const resourcesOf = (type: string): readonly (readonly [id: string, properties: Properties])[] =>
  Object.entries(template.Resources).flatMap(([id, { Type, Properties }]) =>
    Type === type ? [[id, Properties ?? {}] as const] : [],
  );

/** What CloudFormation makes of the value. The ARN of a resource becomes its logical id, or the function's name. */
function resolved(value: Value | undefined): unknown {
  if (Array.isArray(value)) return value.map(resolved);
  if (typeof value !== 'object') return value;
  const entries = Object.entries(value as Properties);
  const [[name, argument] = []] = entries;
  if (name === 'Ref') return PSEUDO[argument as string] ?? argument;
  if (name === 'Fn::GetAtt') return nameOf((argument as readonly string[])[0]!);
  if (name === 'Fn::Join') {
    const [separator, parts] = argument as unknown as readonly [string, readonly Value[]];
    return parts.map((part) => String(resolved(part))).join(separator);
  }
  if (name !== 'Fn::Sub') return Object.fromEntries(entries.map(([key, item]) => [key, resolved(item)]));
  const [text, own = {}] = (Array.isArray(argument) ? argument : [argument]) as unknown as readonly [
    string,
    Properties?,
  ];
  const known = { ...PSEUDO, ...(resolved(own) as Readonly<Record<string, string>>) };
  return text
    .replaceAll(/\$\{([^}]*)\}/g, (_whole, placeholder: string) => known[placeholder] ?? assert.fail(placeholder))
    .replace(`arn:aws:states:${REGION}:${ACCOUNT_ID}:stateMachine:${stateMachineName(STAGE)}`, STATE_MACHINE_ARN);
}

const nameOf = (id: string): string => FUNCTIONS.find((name) => functionId(name) === id) ?? id;
const ordered = <T>(items: readonly T[], key: (item: T) => string): readonly T[] =>
  [...items].sort((a, b) => (key(a) < key(b) ? -1 : 1));
const byJson = <T>(items: readonly T[]): readonly T[] => ordered(items, (item) => JSON.stringify(item));

test('the compiled template and what runs here have the same rules, with the same queue', () => {
  const mappings = resourcesOf('AWS::Lambda::EventSourceMapping').map(
    ([, properties]) => resolved(properties) as Plain,
  );
  const inTemplate = resourcesOf('AWS::Events::Rule').flatMap(([, properties]) => {
    const { EventPattern: pattern, EventBusName: bus = 'default', Targets } = resolved(properties) as Plain;
    const [{ Arn: target } = {}] = Targets as readonly { Arn?: string }[];
    const mapping = mappings.find(({ EventSourceArn: queue }) => queue === target);
    const queue = mapping && {
      functionName: mapping.FunctionName,
      batchSize: mapping.BatchSize,
      windowMs: 1000 * Number(mapping.MaximumBatchingWindowInSeconds),
      concurrency: (mapping.ScalingConfig as Plain).MaximumConcurrency,
      maxReceives: (template.Resources[String(target)]?.Properties?.RedrivePolicy as Plain).maxReceiveCount,
      arn: `arn:aws:sqs:${REGION}:${ACCOUNT_ID}:${String(target)}`,
    };
    return pattern === undefined ? [] : [{ bus, pattern, target: queue ?? target }];
  });
  assert.equal(inTemplate.length, 4);
  assert.deepEqual(byJson(deployment.rules), byJson(inTemplate));
});

test('the compiled template and what runs here have the same bus and schedules', () => {
  assert.deepEqual(
    resourcesOf('AWS::Events::EventBus').map(([, { Name }]) => Name),
    [deployment.bus],
  );
  const clocks = resourcesOf('AWS::Events::Rule').flatMap(([name, properties]) => {
    const { ScheduleExpression: expression, Targets } = resolved(properties) as Plain;
    const [{ Arn: functionName } = {}] = Targets as readonly { Arn?: string }[];
    return expression === undefined ? [] : [{ name, expression, timeZone: 'UTC', functionName }];
  });
  const warmups = resourcesOf('AWS::Scheduler::Schedule').map(([, properties]) => {
    const {
      Name: name,
      ScheduleExpression: expression,
      ScheduleExpressionTimezone: timeZone,
      Target,
    } = resolved(properties) as Plain;
    const { Arn: functionName, Input } = Target as { Arn: string; Input: string };
    return { name, expression, timeZone, functionName, input: JSON.parse(Input) as unknown };
  });
  assert.deepEqual([clocks.length, warmups.length], [1, 1]);
  const here = deployment.schedules.map(({ event, ...schedule }) =>
    schedule.functionName === 'warmup' ? { ...schedule, input: event('<aws.scheduler.scheduled-time>') } : schedule,
  );
  assert.deepEqual(here, [...clocks, ...warmups]);
  const scheduled = deployment.schedules[0]?.event('2026-03-01T03:00:00Z') as Plain;
  assert.deepEqual([scheduled.source, scheduled.time], ['aws.events', '2026-03-01T03:00:00Z']);
});

test('the compiled template and what runs here have the same state machine', () => {
  const machines = resourcesOf('AWS::StepFunctions::StateMachine').map(
    ([, { DefinitionString }]) => JSON.parse(String(resolved(DefinitionString))) as unknown,
  );
  assert.deepEqual([deployment.definition], machines);
  const text = JSON.stringify(deployment.definition);
  assert.ok(text.includes(functionArnIn(REGION, 'plan')) && !text.includes('${'));
});

test('the compiled template and what runs here have the same functions, variables and routes', () => {
  const functions = resourcesOf('AWS::Lambda::Function').map(([id, properties]) => {
    const { Timeout, MemorySize, ReservedConcurrentExecutions } = properties;
    return {
      name: nameOf(id),
      timeoutMs: 1000 * Number(Timeout),
      memoryMiB: MemorySize,
      reservedConcurrency: ReservedConcurrentExecutions,
    };
  });
  const byName = ({ name }: { readonly name: string }): string => name;
  assert.deepEqual(ordered(deployment.service.functions, byName), ordered(functions, byName));
  const here = resolved(deployment.service.environment as Properties);
  for (const [id, { Environment }] of resourcesOf('AWS::Lambda::Function')) {
    assert.deepEqual((resolved(Environment) as Plain).Variables, here, id);
  }
  const routes = resourcesOf('AWS::ApiGatewayV2::Route').map(([, properties]) => {
    const { RouteKey: key, Target: target } = resolved(properties) as { RouteKey: string; Target: string };
    const integration = template.Resources[target.replace('integrations/', '')]?.Properties?.IntegrationUri;
    const [method = '', path = DEFAULT_PATH] = key === DEFAULT_PATH ? ['ANY'] : key.split(' ');
    return { method: method === '*' ? 'ANY' : method, path, functionName: resolved(integration) };
  });
  assert.deepEqual(byJson(deployment.service.routes), byJson(routes));
});
