import { contentDeleted, isDeletion } from '../lib/events/content-deleted.ts';
import { startPulls } from '../lib/events/start-pulls.ts';
import { lambdaHandler } from '../lib/lambda/handler.ts';

/**
 * Told by EventBridge what to pull (pushes to ECR, and `{reference}` events on the bus of the cache: {@link startPulls}), and that content is gone from the
 * bucket ({@link contentDeleted}). Each event may come twice.
 */
export const handler = lambdaHandler(async (event, { services, metrics, logger, signal }) => {
  const { config, deployment, pull, fills } = services;
  if (isDeletion(event)) {
    const answer = await contentDeleted({ ...pull, bucket: deployment.bucket }, event, signal);
    if ('lost' in answer) logger.warn('content is gone from the bucket; the next request brings it again', answer);
    else logger.info('the event was ignored', { ...answer });
    return answer;
  }
  const { registries, events } = config;
  const answer = await startPulls({ hits: pull, fills, registries, events, metrics }, event, signal);
  logger.info('ignored' in answer ? 'the event was ignored' : 'pulls were started', { ...answer });
  return answer;
});
