import { taskHandler } from '../lib/lambda/handler.ts';
import { failTask } from '../lib/jobs/publish-task.ts';

/** The task of the state machine that ends a pull with the error of another task. */
export const handler = taskHandler(failTask);
