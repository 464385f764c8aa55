import { attribute, ref, type Resource, type Resources, type Value } from '../cloudformation.ts';
import { functionId } from '../names.ts';

/** Events that a function failed on, after its retries: as Lambda's destinations write them, deletions unchanged. */
export const FAILED_EVENTS = 'FailedEvents';
/** Events that never reached their function or its queue, as EventBridge and Scheduler write them. */
export const UNDELIVERED_EVENTS = 'UndeliveredEvents';

/** Deletions of objects, as S3 reports them to EventBridge. `events` reads them in batches. */
export const CONTENT_DELETED = 'ContentDeleted';
/** The only rule that writes to it. */
export const CONTENT_DELETED_RULE = 'ContentDeletedRule';

const RETENTION_SECONDS = 14 * 24 * 3600;
/** How the queue of deletions is read. The template is made from this, and the local application does it. */
export const DELETIONS_READER = {
  functionName: 'events',
  /** Two whole transactions of losses: a lifecycle rule can delete thousands of objects. */
  batchSize: 168,
  windowSeconds: 5,
  /** Concurrent invocations contend for the epoch. SQS allows no fewer than two. */
  concurrency: 2,
  /** About an hour of attempts, as other events have. */
  maxReceives: 10,
} as const;
/** Six times the time-out of `events`, as AWS advises: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html */
const VISIBILITY_SECONDS = 6 * 60 + DELETIONS_READER.windowSeconds;

/** The dead-letter queues and the queue of deletions with its reader: encrypted, TLS only. `senders` are the rules that may write undelivered events. */
export function queues(senders: readonly string[]): Resources {
  return {
    [FAILED_EVENTS]: queue(),
    FailedEventsPolicy: policy(FAILED_EVENTS, []),
    [UNDELIVERED_EVENTS]: queue(),
    UndeliveredEventsPolicy: policy(UNDELIVERED_EVENTS, senders),
    [CONTENT_DELETED]: queue({
      VisibilityTimeout: VISIBILITY_SECONDS,
      RedrivePolicy: {
        deadLetterTargetArn: attribute(FAILED_EVENTS, 'Arn'),
        maxReceiveCount: DELETIONS_READER.maxReceives,
      },
    }),
    ContentDeletedPolicy: policy(CONTENT_DELETED, [CONTENT_DELETED_RULE]),
    ContentDeletedMapping: {
      Type: 'AWS::Lambda::EventSourceMapping',
      Properties: {
        EventSourceArn: attribute(CONTENT_DELETED, 'Arn'),
        FunctionName: attribute(functionId(DELETIONS_READER.functionName), 'Arn'),
        BatchSize: DELETIONS_READER.batchSize,
        MaximumBatchingWindowInSeconds: DELETIONS_READER.windowSeconds,
        ScalingConfig: { MaximumConcurrency: DELETIONS_READER.concurrency },
        FunctionResponseTypes: ['ReportBatchItemFailures'],
      },
    },
  };
}

// SQS's own key: EventBridge cannot use the AWS managed key for SQS.
const queue = (more: Readonly<Record<string, Value>> = {}): Resource => ({
  Type: 'AWS::SQS::Queue',
  Properties: { SqsManagedSseEnabled: true, MessageRetentionPeriod: RETENTION_SECONDS, ...more },
});

function policy(queueId: string, rules: readonly string[]): Resource {
  const fromRules: Value[] =
    rules.length === 0
      ? []
      : [
          {
            Sid: 'Rules',
            Effect: 'Allow',
            Principal: { Service: 'events.amazonaws.com' },
            Action: 'sqs:SendMessage',
            Resource: attribute(queueId, 'Arn'),
            Condition: { ArnEquals: { 'aws:SourceArn': rules.map((rule) => attribute(rule, 'Arn')) } },
          },
        ];
  return {
    Type: 'AWS::SQS::QueuePolicy',
    Properties: {
      Queues: [ref(queueId)],
      PolicyDocument: {
        Version: '2012-10-17',
        Statement: [
          {
            Sid: 'TlsOnly',
            Effect: 'Deny',
            Principal: '*',
            Action: 'sqs:*',
            Resource: attribute(queueId, 'Arn'),
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          },
          ...fromRules,
        ],
      },
    },
  };
}
