import { taskHandler } from '../lib/lambda/handler.ts';
import { copyTask } from '../lib/jobs/copy-task.ts';

/** The task of the state machine that copies one batch of blobs. */
export const handler = taskHandler(copyTask);
