import type { SFNClient } from '@aws-sdk/client-sfn';
import { JobUnavailableError } from '../errors/cache-error.ts';
import type { Leases } from '../lock/lease.ts';
import { formatReference } from '../reference/reference.ts';
import { endAbandoned, isAbandoned } from './abandoned.ts';
import type { Executions } from './executions.ts';
import type { Jobs } from './jobs.ts';
import type { PullRecord, PullRecords } from './pull-record.ts';
import { sfnExecutions } from './sfn-executions.ts';

/** A pull that wrote nothing for so long may be dead: tasks write more often while they copy, and waits are few. */
const SILENT_MS = 120_000;
/** Pulls found dead in a row, before it is an error: each of them was started, and ended, since this call began. */
const STARTS = 3;

export interface SfnJobsOptions {
  readonly records: PullRecords;
  readonly leases: Pick<Leases, 'adopt'>;
  readonly client: SFNClient;
  /** ARN. */
  readonly stateMachine: string;
}

/** Pulls as executions of a state machine of Step Functions: the execution's name is the id of the pull, its input `{"id"}` alone. */
export function sfnJobs({ records, leases, client, stateMachine }: SfnJobsOptions): Jobs {
  const executions = sfnExecutions({ client, stateMachine });
  return {
    async start(request, signal) {
      for (let starts = 1; starts <= STARTS; starts++) {
        const { record } = await records.join(request, signal);
        if (await isCarriedOut(executions, record, signal)) return record;
        const ended = await endAbandoned({ records, leases }, record.id, signal);
        // The workflow may have ended it itself since we looked: then this is the answer.
        if (!isAbandoned(ended)) return ended;
      }
      const op = `start the pull of ${formatReference(request.reference)}`;
      throw new JobUnavailableError(op, `${STARTS} workflows ended at once while trying to ${op}; try again later`);
    },
  };
}

/** Whether an execution of it runs, or was accepted just now. Whoever joins a pull that is still queued starts it, because its creator may have died. */
async function isCarriedOut(executions: Executions, record: PullRecord, signal: AbortSignal): Promise<boolean> {
  if (record.state === 'queued') {
    if ((await executions.start(record.id, signal)) === 'started') return true;
  } else if (Date.now() - record.updatedMs < SILENT_MS) {
    return true;
  }
  return (await executions.look(record.id, signal)) === 'running';
}
