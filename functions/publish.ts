import { taskHandler } from '../lib/lambda/handler.ts';
import { publishTask } from '../lib/jobs/publish-task.ts';

/** The last task of the state machine: what was copied becomes visible. */
export const handler = taskHandler(publishTask);
