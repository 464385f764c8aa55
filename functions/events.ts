import { contentDeleted, messagesOf } from '../lib/events/content-deleted.ts';
import { startPulls } from '../lib/events/start-pulls.ts';
import { lambdaHandler } from '../lib/lambda/handler.ts';

/**
 * Invoked by EventBridge with images to pull (pushes to ECR, and `{reference}` events on the bus of the cache: {@link startPulls}), and with batches of SQS about
 * objects deleted from the bucket ({@link contentDeleted}). Each event may come twice.
 */
export const handler = lambdaHandler(async (event, { services, metrics, logger, signal }) => {
  const { config, deployment, pull, jobs } = services;
  const messages = messagesOf(event);
  if (messages !== undefined) {
    const { lost, ignored, failed } = await contentDeleted({ ...pull, bucket: deployment.bucket }, messages, signal);
    if (lost.length > 0)
      logger.warn('content was deleted from the bucket; the next request fetches it again', { lost });
    if (ignored.length > 0) logger.info('events were ignored', { ignored });
    for (const [messageId, error] of failed) {
      logger.error('a message failed, and comes again until it is a dead letter', error, { messageId });
    }
    return { batchItemFailures: [...failed.keys()].map((itemIdentifier) => ({ itemIdentifier })) };
  }
  const { registries, events } = config;
  const answer = await startPulls({ hits: pull, jobs, registries, events, metrics }, event, signal);
  logger.info('ignored' in answer ? 'the event was ignored' : 'pulls were started', { ...answer });
  return answer;
});
