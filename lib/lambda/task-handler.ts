import type { MiddyfiedHandler } from '@middy/core';
import type { JobDeps } from '../jobs/jobs.ts';
import { lambdaHandler } from './handler.ts';

type Task = (deps: JobDeps, event: unknown, signal: AbortSignal) => Promise<unknown>;

/** The handler of a task of the state machine; its log names the pull. */
export const taskHandler = (task: Task): MiddyfiedHandler<unknown, unknown> =>
  lambdaHandler((event, { services, metrics, logger, signal }) => {
    logger.keep({ pullId: (event as { id?: unknown } | null)?.id });
    const { pull, records, plans, workflowLeases: leases, announcer } = services;
    return task({ pull, records, leases, plans, announcer, metrics }, event, signal);
  });
