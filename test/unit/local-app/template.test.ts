import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arn, attribute, ref, type Resources } from '../../../infra/cloudformation.ts';
import { busNames, busRules, resolved, schedulesOf } from '../../../infra/local/app/template.ts';

const MACHINE = 'arn:aws:states:us-east-1:000000000000:stateMachine:mine';
const context = {
  region: 'us-east-1',
  accountId: '000000000000',
  arns: new Map([[MACHINE, 'arn:here']]),
  refs: new Map(),
};
const target = (id: string) => [{ Id: 'target', Arn: attribute(id, 'Arn') }];

const RESOURCES: Resources = {
  Bus: { Type: 'AWS::Events::EventBus', Properties: { Name: 'own' } },
  Matching: {
    Type: 'AWS::Events::Rule',
    Properties: {
      EventBusName: ref('Bus'),
      EventPattern: { detail: { machine: [arn('states', 'stateMachine:mine')], exists: [{ exists: true }] } },
      Targets: target('EventsLambdaFunction'),
    },
  },
  Queued: {
    Type: 'AWS::Events::Rule',
    Properties: { EventPattern: { source: ['aws.s3'] }, Targets: target('Deletions') },
  },
  Deletions: { Type: 'AWS::SQS::Queue', Properties: { RedrivePolicy: { maxReceiveCount: 10 } } },
  Reading: {
    Type: 'AWS::Lambda::EventSourceMapping',
    Properties: {
      EventSourceArn: attribute('Deletions', 'Arn'),
      FunctionName: attribute('EventsLambdaFunction', 'Arn'),
      BatchSize: 100,
      MaximumBatchingWindowInSeconds: 5,
      ScalingConfig: { MaximumConcurrency: 2 },
    },
  },
  Clock: {
    Type: 'AWS::Events::Rule',
    Properties: { ScheduleExpression: 'rate(5 minutes)', Targets: target('OverseeLambdaFunction') },
  },
  Nightly: {
    Type: 'AWS::Scheduler::Schedule',
    Properties: {
      Name: 'nightly',
      ScheduleExpression: 'cron(0 3 * * ? *)',
      ScheduleExpressionTimezone: 'Europe/Berlin',
      Target: { Arn: attribute('WarmupLambdaFunction', 'Arn'), Input: '{"at":"<aws.scheduler.scheduled-time>"}' },
    },
  },
};

test('rules and schedules of a template, as they are here', () => {
  assert.deepEqual(busNames(RESOURCES), ['own']);
  assert.deepEqual(busRules(RESOURCES, context), [
    {
      bus: 'own',
      pattern: { detail: { machine: ['arn:here'], exists: [{ exists: true }] } },
      target: 'events',
    },
    {
      bus: 'default',
      pattern: { source: ['aws.s3'] },
      target: {
        arn: 'arn:aws:sqs:us-east-1:000000000000:Deletions',
        functionName: 'events',
        batchSize: 100,
        windowMs: 5000,
        concurrency: 2,
        maxReceives: 10,
      },
    },
  ]);
  const schedules = schedulesOf(RESOURCES, context);
  assert.deepEqual(
    schedules.map(({ name, expression, timeZone, functionName }) => [name, expression, timeZone, functionName]),
    [
      ['Clock', 'rate(5 minutes)', 'UTC', 'oversee'],
      ['nightly', 'cron(0 3 * * ? *)', 'Europe/Berlin', 'warmup'],
    ],
  );
  assert.deepEqual(schedules[1]?.event('2026-03-01T03:00:00Z'), { at: '2026-03-01T03:00:00Z' });
  const scheduled = schedules[0]?.event('2026-03-01T03:00:00Z') as Record<string, unknown>;
  assert.deepEqual([scheduled.source, scheduled.time], ['aws.events', '2026-03-01T03:00:00Z']);
});

test('what CloudFormation would fill in', () => {
  assert.equal(
    resolved({ 'Fn::Sub': ['${A}-${AWS::Region}', { A: ref('AWS::Partition') }] }, context),
    'aws-us-east-1',
  );
  assert.deepEqual(resolved({ a: [1, { b: true }] }, context), { a: [1, { b: true }] });
  for (const value of [ref('Bucket'), attribute('Bucket', 'Arn'), { 'Fn::Sub': '${Bucket}' }]) {
    assert.throws(() => resolved(value, context), /template/, JSON.stringify(value));
  }
});

test('a target that is no function is refused', () => {
  const broken = { Rule: { Type: 'AWS::Events::Rule', Properties: { EventPattern: {}, Targets: target('Queue') } } };
  assert.throws(() => busRules(broken, context), /no function/);
});

test('a queue that no function reads, or for ever, is refused', () => {
  const { Queued, Deletions, Reading } = RESOURCES;
  assert.throws(() => busRules({ Queued: Queued!, Deletions: Deletions! }, context), /Deletions, which no function/);
  const forEver = { Queued: Queued!, Reading: Reading!, Deletions: { Type: 'AWS::SQS::Queue' } };
  assert.throws(() => busRules(forEver, context), /undefined as maxReceiveCount/);
});
