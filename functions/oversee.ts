import { lambdaHandler } from '../lib/lambda/handler.ts';
import { oversee } from '../lib/jobs/oversee.ts';

/** Invoked by EventBridge when an execution fails, and every few minutes: see {@link oversee}. Both may come twice. */
export const handler = lambdaHandler((event, { services, metrics, signal }) => {
  const { records, workflowLeases: leases, executions, announcer } = services;
  return oversee({ records, leases, executions, announcer, metrics }, event, signal);
});
