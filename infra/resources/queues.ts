import { attribute, ref, type Resource, type Resources, type Value } from '../cloudformation.ts';

/** Events that a function failed with, after its retries: with the error, as Lambda's destinations write them. */
export const FAILED_EVENTS = 'FailedEvents';
/** Events that never reached their function: as EventBridge and Scheduler write them. */
export const UNDELIVERED_EVENTS = 'UndeliveredEvents';

const RETENTION_SECONDS = 14 * 24 * 3600;

/** The dead-letter queues: encrypted, by TLS only. `senders` are the rules that may write undelivered events. */
export function queues(senders: readonly string[]): Resources {
  return {
    [FAILED_EVENTS]: queue(),
    FailedEventsPolicy: policy(FAILED_EVENTS, []),
    [UNDELIVERED_EVENTS]: queue(),
    UndeliveredEventsPolicy: policy(UNDELIVERED_EVENTS, senders),
  };
}

// A key of SQS itself: EventBridge could not use AWS's managed key for SQS.
const queue = (): Resource => ({
  Type: 'AWS::SQS::Queue',
  Properties: { SqsManagedSseEnabled: true, MessageRetentionPeriod: RETENTION_SECONDS },
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
