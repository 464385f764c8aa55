import { once } from '../lib/async/lazily.ts';
import { openRegistry } from '../lib/http/registry/open-registry.ts';
import { eventTransport, unknownEvent } from '../lib/http/registry/registry-event.ts';
import { lambdaHandler } from '../lib/lambda/handler.ts';
import type { Services } from '../lib/services.ts';

/** Asks no registry itself: it has no credentials, and may not write to the bucket. */
const registryOf = once(({ pull, ...services }: Services) => openRegistry({ ...pull, ...services }));

/**
 * The distribution API `/v2` behind an API Gateway HTTP API or an Application Load Balancer: see {@link openRegistry} and docs/serving.md. Every event gets an
 * answer, whatever its shape.
 */
export const handler = lambdaHandler(async (event, { services, metrics, logger, signal }) => {
  const transport = eventTransport(event);
  if (transport === undefined) {
    logger.warn('refused an event that is not a request');
    return unknownEvent();
  }
  return transport.answer(await registryOf(services)(transport, { signal, logger, metrics }));
});
