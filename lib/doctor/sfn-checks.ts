import {
  DescribeExecutionCommand,
  DescribeStateMachineCommand,
  ListExecutionsCommand,
  StartExecutionCommand,
  type SFNClient,
} from '@aws-sdk/client-sfn';
import { randomUUID } from 'node:crypto';
import { sfnClient } from '../jobs/sfn-jobs.ts';
import { type Check, must, mustRefuse, SkipError } from './check.ts';
import type { Target } from './target.ts';

interface SfnFixture extends AsyncDisposable {
  readonly client: SFNClient;
  readonly stateMachine: string;
}

const LISTED = 20;

/** @returns SkipError if the deployment names no state machine. */
export function openSfnFixture({ deployment, region }: Target): SfnFixture | SkipError {
  if (deployment instanceof SkipError) return deployment;
  const { stateMachine } = deployment;
  if (stateMachine === null) return new SkipError('the deployment names no state machine');
  const client = sfnClient({ region });
  return {
    client,
    stateMachine,
    [Symbol.asyncDispose]() {
      client.destroy();
      return Promise.resolve();
    },
  };
}

/** What Step Functions must do. */
export const SFN_CHECKS: readonly Check<SfnFixture>[] = [
  {
    id: 'sfn-standard',
    claim: 'the state machine is of the standard type, and active',
    awsOnly: 'its Step Functions describes executions alone',
    async run({ client, stateMachine }, signal) {
      const { type, status } = await client.send(new DescribeStateMachineCommand({ stateMachineArn: stateMachine }), {
        abortSignal: signal,
      });
      const seen = `${type ?? 'no type'} ${status ?? 'no status'}`;
      must(type === 'STANDARD' && status === 'ACTIVE', seen);
      return seen;
    },
  },
  {
    id: 'sfn-closed-name',
    claim: 'the name of an execution that has ended is refused: ExecutionAlreadyExists',
    async run({ client, stateMachine }, signal) {
      // The latest that succeeded: if its name were accepted, its pull would be over already, and nothing copied.
      const list = new ListExecutionsCommand({
        stateMachineArn: stateMachine,
        statusFilter: 'SUCCEEDED',
        maxResults: 1,
      });
      const [ended] = (await client.send(list, { abortSignal: signal })).executions ?? [];
      if (ended?.name === undefined)
        throw new SkipError('no execution has succeeded yet; pull an image, or give --image');
      const { name } = ended;
      const command = new StartExecutionCommand({
        stateMachineArn: stateMachine,
        name,
        input: JSON.stringify({ id: name }),
      });
      return await mustRefuse('the name once more', ['ExecutionAlreadyExists'], () =>
        client.send(command, { abortSignal: signal }),
      );
    },
  },
  {
    id: 'sfn-unknown-execution',
    claim: 'an unknown execution is ExecutionDoesNotExist',
    async run({ client, stateMachine }, signal) {
      const executionArn = `${stateMachine.replace(':stateMachine:', ':execution:')}:${randomUUID()}`;
      return await mustRefuse('DescribeExecution', ['ExecutionDoesNotExist'], () =>
        client.send(new DescribeExecutionCommand({ executionArn }), { abortSignal: signal }),
      );
    },
  },
  {
    id: 'sfn-list-order',
    claim: 'executions are listed most recent first',
    async run({ client, stateMachine }, signal) {
      const list = new ListExecutionsCommand({ stateMachineArn: stateMachine, maxResults: LISTED });
      const { executions = [] } = await client.send(list, { abortSignal: signal });
      const startsMs = executions.map(({ startDate }) => startDate?.getTime() ?? Number.NaN);
      if (startsMs.length < 2) throw new SkipError(`there is nothing to compare: ${startsMs.length} executions`);
      const isOrdered = startsMs.every((startMs, index) => index === 0 || startMs <= (startsMs[index - 1] ?? 0));
      must(isOrdered, `of ${startsMs.length} not every one is older than the one before`);
      return `${startsMs.length} in order`;
    },
  },
];
