import { SFNClient } from '@aws-sdk/client-sfn';
import { sfnClient } from '../../lib/jobs/sfn-jobs.ts';

/** A client for the endpoint of a state machine, with this many attempts. */
export const sfnClientAt = (endpoint: string, maxAttempts = 4): SFNClient =>
  sfnClient({
    endpoint,
    maxAttempts,
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIAENTREPOTTEST', secretAccessKey: 'test' },
  });

/** A task that calls a function of its own name. */
export const task = (name: string, next?: string, more: object = {}): object => ({
  Type: 'Task',
  Resource: 'arn:aws:states:::lambda:invoke',
  Parameters: { FunctionName: name, 'Payload.$': '$' },
  OutputPath: '$.Payload',
  ...(next === undefined ? { End: true } : { Next: next }),
  ...more,
});

/** One task, of this name. */
export const oneTask = (name: string, more: object = {}): object => ({
  StartAt: name,
  States: { [name]: task(name, undefined, more) },
});

/** A promise, and what settles it. */
export interface Gate {
  readonly opened: Promise<unknown>;
  open(): void;
}

export function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  return { opened: promise, open: () => resolve(undefined) };
}
