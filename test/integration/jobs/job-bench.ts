import { StopExecutionCommand } from '@aws-sdk/client-sfn';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStates, type Execution } from '../../../infra/local/states/states.ts';
import { pullKey } from '../../../lib/table/keys.ts';
import type { Executions, Jobs } from '../../../lib/jobs/jobs.ts';
import type { PullRecords } from '../../../lib/jobs/pull-record.ts';
import { sfnExecutions, sfnJobs } from '../../../lib/jobs/sfn-jobs.ts';
import { leaseWatch } from '../../../lib/lock/heartbeat.ts';
import type { Fence } from '../../../lib/lock/fence.ts';
import { isLease, type Leases } from '../../../lib/lock/lease.ts';
import { recordsAt } from '../../conformance/pull-records-subject.ts';
import { startFaultProxy, type FaultAction, type FaultProxy, type FaultRule } from '../../support/http-fault-proxy.ts';
import { oneTask, sfnClientAt } from '../../support/state-machine.ts';
import { forever, type TableUnderTest } from '../../support/table-under-test.ts';

/** What the one task of the workflow does with its pull; it may throw. */
type Work = (id: string, signal: AbortSignal) => Promise<unknown>;

/** Jobs on a table and an endpoint of their own, with a way to fault what goes to the latter. */
export interface FillBench extends AsyncDisposable {
  readonly jobs: Jobs;
  readonly executions: Executions;
  readonly records: PullRecords;
  readonly leases: Leases;
  /** In front of the workflow service. */
  readonly proxy: FaultProxy;
  /** Ids of the executions whose task began. */
  readonly begun: string[];
  readonly ended: Execution[];
  /** Stops the execution of the pull from outside. */
  stop(id: string): Promise<void>;
  /** A pull that planned under a lock `silentMs` ago, and said nothing since. */
  silence(id: string, silentMs: number): Promise<Fence>;
}

const LEASE_MS = 60_000;

export async function fillBench(table: TableUnderTest, work: Work): Promise<FillBench> {
  const begun: string[] = [];
  const ended: Execution[] = [];
  const states = await startStates({
    definition: oneTask('pull'),
    onEnded: (execution) => ended.push(execution),
    invoke: async (_name, payload, signal) => {
      const { id } = payload as { id: string };
      begun.push(id);
      try {
        await work(id, signal);
        return { payload: { id } };
      } catch (error) {
        return { errorType: (error as Error).name, errorMessage: (error as Error).message };
      }
    },
  });
  const reach = await table.reach();
  const proxy = await startFaultProxy(states.endpoint);
  // Each try after the first waits for up to a second.
  const client = sfnClientAt(proxy.endpoint, 2);
  const direct = sfnClientAt(states.endpoint);
  const records = recordsAt(table, reach);
  const leases = reach.leases(LEASE_MS);
  const stateMachine = states.stateMachineArn;
  return {
    jobs: sfnJobs({ records, leases, client, stateMachine }),
    executions: sfnExecutions({ client, stateMachine }),
    records,
    leases,
    proxy,
    begun,
    ended,

    async stop(id) {
      const executionArn = `${stateMachine.replace(':stateMachine:', ':execution:')}:${id}`;
      await direct.send(new StopExecutionCommand({ executionArn }));
    },

    async silence(id, silentMs) {
      const lease = await leases.tryAcquire(`pull:registry.example.test/${id}:v1`, leaseWatch(), forever);
      if (!isLease(lease)) throw new Error('the lock of a fresh name is held');
      await records.begin(id, lease, forever);
      await lease.letGo();
      await table.change({ key: pullKey(id), update: 'SET updatedMs = :ms', values: { ':ms': Date.now() - silentMs } });
      return lease;
    },

    async [Symbol.asyncDispose]() {
      client.destroy();
      direct.destroy();
      await states.close();
      await proxy.close();
      await reach[Symbol.asyncDispose]();
    },
  };
}

/** The fault, for the first `times` calls of the action of Step Functions. */
export const onStates = (operation: string, action: FaultAction, times = 1): FaultRule => ({
  headers: { 'x-amz-target': new RegExp(`\\.${operation}$`) },
  times,
  action,
});

/** An error of Step Functions, as it comes over the wire. */
export const statesError = (name: string, status = 400): FaultAction => ({
  kind: 'answer',
  answer: {
    status,
    headers: { 'content-type': 'application/x-amz-json-1.0' },
    body: JSON.stringify({ __type: name, message: `injected ${name}` }),
  },
});

/** Waits until it is so, for 10 s. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let look = 0; look < 1_000; look++) {
    if (await isSo()) return;
    await sleep(10);
  }
  throw new Error(`10 s went by, and not: ${what}`);
}
