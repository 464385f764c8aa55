import { taskHandler } from '../lib/lambda/handler.ts';
import { publishTask } from '../lib/jobs/publish-task.ts';

/** The last task of the state machine: publishes what was copied. */
export const handler = taskHandler(publishTask);
