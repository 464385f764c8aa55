import { createHash } from 'node:crypto';
import { attribute, ref, type Resource, type Resources } from '../cloudformation.ts';
import type { WarmupSettings } from '../../lib/warmup/warmup-settings.ts';
import { capitalised, functionId, stackName } from '../names.ts';
import { UNDELIVERED_EVENTS } from './queues.ts';

/** A warm-up that could not start within the hour waits for its next time. */
const RETRY_POLICY = { MaximumEventAgeInSeconds: 3600, MaximumRetryAttempts: 10 };

/** The event of a scheduled warm-up. It is the same in every delivery of one occasion: by it the function recognises a repeated one. */
export const warmupEvent = (warmup: string, scheduledTime: string) => ({ warmup, scheduledTime });

/** One schedule for each warm-up. Nothing where there are none. */
export function schedules(stage: string, warmups: readonly WarmupSettings[]): Resources {
  if (warmups.length === 0) return {};
  return {
    Schedules: { Type: 'AWS::Scheduler::ScheduleGroup', Properties: { Name: stackName(stage) } },
    ...Object.fromEntries(warmups.map((warmup) => [logicalId(warmup.name), schedule(warmup)])),
  };
}

function schedule({ name, schedule: expression, timeZone }: WarmupSettings): Resource {
  return {
    Type: 'AWS::Scheduler::Schedule',
    Properties: {
      Name: name,
      GroupName: ref('Schedules'),
      ScheduleExpression: expression,
      ScheduleExpressionTimezone: timeZone,
      FlexibleTimeWindow: { Mode: 'OFF' },
      Target: {
        Arn: attribute(functionId('warmup'), 'Arn'),
        RoleArn: attribute('SchedulerRole', 'Arn'),
        Input: JSON.stringify(warmupEvent(name, '<aws.scheduler.scheduled-time>')),
        RetryPolicy: RETRY_POLICY,
        DeadLetterConfig: { Arn: attribute(UNDELIVERED_EVENTS, 'Arn') },
      },
    },
  };
}

/** Logical ids have no "-" and "_"; the hash keeps `a-b` and `a_b` apart. */
function logicalId(name: string): string {
  const plain = name.split(/[-_]/).map(capitalised).join('');
  return `Warmup${plain}${createHash('sha256').update(name).digest('hex').slice(0, 6)}`;
}
