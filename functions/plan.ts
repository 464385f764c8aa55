import { taskHandler } from '../lib/lambda/handler.ts';
import { planTask } from '../lib/jobs/plan-task.ts';

/** The first task of the state machine (infra/workflow.ts): decides what to copy, under the lock of the reference. */
export const handler = taskHandler(planTask);
