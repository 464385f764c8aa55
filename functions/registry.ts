import { once } from '../lib/async/lazily.ts';
import { openRegistry } from '../lib/http/registry/open-registry.ts';
import { eventTransport, unknownEvent } from '../lib/http/registry/registry-event.ts';
import { lambdaHandler } from '../lib/lambda/handler.ts';
import type { Services } from '../lib/services.ts';

/** Asks no registry itself: it holds no credentials, and may write nothing into the bucket. */
const registryOf = once(({ pull, ...services }: Services) => openRegistry({ ...pull, ...services }));

/**
 * The distribution API `/v2` behind an API Gateway HTTP API or an Application Load Balancer: see {@link openRegistry} and docs/serving.md. Every event is answered,
 * whatever its shape.
 */
export const handler = lambdaHandler(async (event, { services, metrics, logger, signal }) => {
  const door = eventTransport(event);
  if (door === undefined) {
    logger.warn('an event that is no request was refused');
    return unknownEvent();
  }
  return door.answer(await registryOf(services)(door, { signal, logger, metrics }));
});
