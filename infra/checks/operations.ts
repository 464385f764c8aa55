import type { Template } from '../cloudformation.ts';
import { SERVICE } from '../names.ts';
import { at, listOf, ofType, same, shown, statementsIn, unless } from './check.ts';

const FUNCTION = 'AWS::Lambda::Function';
const QUEUE = 'AWS::SQS::Queue';
const RULE = 'AWS::Events::Rule';
const SCHEDULE = 'AWS::Scheduler::Schedule';
const MAPPING = 'AWS::Lambda::EventSourceMapping';

export const functionsRunOnNode24 = (template: Template): readonly string[] =>
  unless(
    ofType(template, FUNCTION),
    'does not run on nodejs24.x, arm64',
    ({ properties }) => properties.Runtime === 'nodejs24.x' && same(properties.Architectures, ['arm64']),
  );

/** All functions share one network, or none is in any: otherwise one could not reach what the others reach. */
export const functionsShareOneNetwork = (template: Template): readonly string[] => {
  const networks = new Set(ofType(template, FUNCTION).map(({ properties }) => shown(properties.VpcConfig ?? '')));
  return networks.size <= 1 ? [] : ['some functions are in another network than the others'];
};

export const queuesAreEncrypted = (template: Template): readonly string[] =>
  unless(ofType(template, QUEUE), 'is not encrypted', ({ properties }) => properties.SqsManagedSseEnabled === true);

export const queuesTakeTlsOnly = (template: Template): readonly string[] =>
  unless(ofType(template, QUEUE), 'has no policy that denies everything without TLS', ({ id }) =>
    ofType(template, 'AWS::SQS::QueuePolicy')
      .filter(({ properties }) => same(properties.Queues, [{ Ref: id }]))
      .flatMap(({ properties }) => statementsIn(properties.PolicyDocument))
      .some(
        (statement) =>
          statement.Effect === 'Deny' &&
          statement.Principal === '*' &&
          statement.Action === 'sqs:*' &&
          at(statement.Condition, 'Bool', 'aws:SecureTransport') === 'false',
      ),
  );

/** Only rules of the stack may write, each to the queue that names it. */
export const queuesKnowTheirSenders = (template: Template): readonly string[] =>
  unless(ofType(template, 'AWS::SQS::QueuePolicy'), 'lets others write than rules of the stack', ({ properties }) =>
    statementsIn(properties.PolicyDocument)
      .filter(({ Effect }) => Effect !== 'Deny')
      .every((statement) => {
        const sources = listOf(at(statement.Condition, 'ArnEquals', 'aws:SourceArn'));
        return (
          same(statement.Principal, { Service: 'events.amazonaws.com' }) &&
          same(statement.Action, 'sqs:SendMessage') &&
          sources.length > 0 &&
          sources.every((source) => ofType(template, RULE).some(({ id }) => id === at(source, 'Fn::GetAtt', 0)))
        );
      }),
  );

/** Undeliverable events are kept, and not retried for ever. */
export const undeliveredEventsAreKept = (template: Template): readonly string[] => {
  const targets = [
    ...ofType(template, RULE).map((rule) => ({ ...rule, targets: listOf(rule.properties.Targets) })),
    ...ofType(template, SCHEDULE).map((schedule) => ({ ...schedule, targets: listOf(schedule.properties.Target) })),
  ];
  return targets
    .filter(
      ({ targets: all }) =>
        all.length === 0 ||
        !all.every(
          (target) =>
            isQueue(template, at(target, 'DeadLetterConfig', 'Arn', 'Fn::GetAtt', 0)) &&
            typeof at(target, 'RetryPolicy', 'MaximumEventAgeInSeconds') === 'number',
        ),
    )
    .map(({ id }) => `${id} has no dead-letter queue, or no maximum age of events`);
};

/** Every function that rules and schedules invoke keeps the events that it failed on. */
export const failedEventsAreKept = (template: Template): readonly string[] => {
  const invoked = new Set(
    [...ofType(template, RULE), ...ofType(template, SCHEDULE)].flatMap(({ properties }) =>
      [...listOf(properties.Targets), ...listOf(properties.Target)].map((target) => at(target, 'Arn', 'Fn::GetAtt', 0)),
    ),
  );
  return unless(
    ofType(template, FUNCTION).filter(({ id }) => invoked.has(id)),
    'loses the events that it failed on, or retries them for ever',
    ({ id }) =>
      ofType(template, 'AWS::Lambda::EventInvokeConfig').some(
        ({ properties }) =>
          same(properties.FunctionName, { Ref: id }) &&
          isQueue(template, at(properties.DestinationConfig, 'OnFailure', 'Destination', 'Fn::GetAtt', 0)) &&
          typeof properties.MaximumEventAgeInSeconds === 'number' &&
          typeof properties.MaximumRetryAttempts === 'number',
      ),
  );
};

/** A function that reads a queue fails messages one by one, has enough time, and keeps what always fails. */
export const failedMessagesAreKept = (template: Template): readonly string[] =>
  unless(
    ofType(template, MAPPING),
    'loses or repeats messages, for ever or all of a batch, or takes the whole account',
    ({ properties }) => {
      const [functionId, queueId] = [properties.FunctionName, properties.EventSourceArn].map((arn) =>
        at(arn, 'Fn::GetAtt', 0),
      );
      const queue = ofType(template, QUEUE).find(({ id }) => id === queueId)?.properties;
      const reader = ofType(template, FUNCTION).find(({ id }) => id === functionId)?.properties;
      const receives = at(queue?.RedrivePolicy, 'maxReceiveCount');
      const hiddenSeconds = 6 * Number(reader?.Timeout) + Number(properties.MaximumBatchingWindowInSeconds ?? 0);
      return (
        same(properties.FunctionResponseTypes, ['ReportBatchItemFailures']) &&
        typeof at(properties.ScalingConfig, 'MaximumConcurrency') === 'number' &&
        isQueue(template, at(queue?.RedrivePolicy, 'deadLetterTargetArn', 'Fn::GetAtt', 0)) &&
        typeof receives === 'number' &&
        receives >= 5 &&
        Number(queue?.VisibilityTimeout) >= hiddenSeconds
      );
    },
  );

const isQueue = (template: Template, id: unknown): boolean => ofType(template, QUEUE).some((queue) => queue.id === id);

/** Rules on our bus exclude our own events: an event could cause itself. */
export const rulesDoNotHearUs = (template: Template): readonly string[] =>
  unless(
    ofType(template, RULE).filter(({ properties }) => properties.EventBusName !== undefined),
    'matches events of the cache itself',
    ({ properties }) => same(at(properties.EventPattern, 'source'), [{ 'anything-but': [SERVICE] }]),
  );

export const logsExpire = (template: Template): readonly string[] =>
  unless(
    ofType(template, 'AWS::Logs::LogGroup'),
    'keeps its events for ever',
    ({ properties }) => typeof properties.RetentionInDays === 'number',
  );

/** A function without a log group in the stack makes its own, which never expires. */
export const functionsHaveLogGroups = (template: Template): readonly string[] => {
  const groups = ofType(template, 'AWS::Logs::LogGroup').map(({ properties }) => shown(properties.LogGroupName));
  return unless(ofType(template, FUNCTION), 'has no log group in the stack', ({ properties }) =>
    groups.includes(`/aws/lambda/${shown(properties.FunctionName)}`),
  );
};

export const apiIsLoggedAndThrottled = (template: Template): readonly string[] =>
  unless(ofType(template, 'AWS::ApiGatewayV2::Stage'), 'has no access log or no throttle', ({ properties }) => {
    const settings = properties.DefaultRouteSettings;
    return (
      at(properties.AccessLogSettings, 'DestinationArn') !== undefined &&
      [at(settings, 'ThrottlingRateLimit'), at(settings, 'ThrottlingBurstLimit')].every(
        (limit) => typeof limit === 'number' && limit > 0,
      )
    );
  });

export const workflowIsStandardAndLogged = (template: Template): readonly string[] =>
  unless(
    ofType(template, 'AWS::StepFunctions::StateMachine'),
    'is not a standard workflow with a log',
    ({ properties }) =>
      properties.StateMachineType === 'STANDARD' &&
      at(properties.LoggingConfiguration, 'Destinations', 0, 'CloudWatchLogsLogGroup', 'LogGroupArn') !== undefined,
  );

/** Metrics that need an alarm. */
const WATCHED = [
  'Throttles',
  'ApproximateNumberOfMessagesVisible',
  'CredentialsRejected',
  'OldestRunningPullSeconds',
  'PullsFailed',
  'ExecutionsFailed',
  'ExecutionsTimedOut',
  '5xx',
];

export const failuresAreWatched = (template: Template): readonly string[] => {
  const alarms = ofType(template, 'AWS::CloudWatch::Alarm').map(({ properties }) => JSON.stringify(properties));
  const watches = (...words: readonly string[]): boolean =>
    alarms.some((alarm) => words.every((word) => alarm.includes(JSON.stringify(word))));
  const isRead = (queue: string): boolean =>
    ofType(template, MAPPING).some(({ properties }) => at(properties.EventSourceArn, 'Fn::GetAtt', 0) === queue);
  return [
    ...WATCHED.filter((metric) => !watches(metric)).map((metric) => `no alarm watches ${metric}`),
    ...ofType(template, FUNCTION)
      .filter(({ id }) => !watches('Errors', id))
      .map(({ id }) => `no alarm watches the errors of ${id}`),
    ...ofType(template, QUEUE)
      .filter(
        ({ id }) => !watches(isRead(id) ? 'ApproximateAgeOfOldestMessage' : 'ApproximateNumberOfMessagesVisible', id),
      )
      .map(({ id }) => `no alarm watches what stays in ${id}`),
    ...ofType(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer')
      .filter(({ id }) => !watches('HTTPCode_ELB_5XX_Count', id))
      .map(({ id }) => `no alarm watches the failures of ${id}`),
  ];
};
