import { startPulls } from '../lib/events/start-pulls.ts';
import { lambdaHandler } from '../lib/lambda/handler.ts';

/** Told by EventBridge what to pull: pushes to ECR, and `{reference}` events on the bus of the cache. See {@link startPulls}. Each may come twice. */
export const handler = lambdaHandler(async (event, { services, metrics, logger, signal }) => {
  const { config, pull, fills } = services;
  const { registries, events } = config;
  const answer = await startPulls({ hits: pull, fills, registries, events, metrics }, event, signal);
  logger.info('ignored' in answer ? 'the event was ignored' : 'pulls were started', { ...answer });
  return answer;
});
