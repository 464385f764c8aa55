import { InvalidRequestError } from '../lib/errors/cache-error.ts';
import { answerRequest } from '../lib/http/control/control-api.ts';
import { isHttpEvent } from '../lib/http/http-event.ts';
import { lambdaHandler } from '../lib/lambda/handler.ts';

/**
 * The control API `/v1` behind an API Gateway HTTP API (payload 2.0): see lib/http/control/routes.ts and docs/api.md.
 *
 * The caller is what the API's authoriser proved, as the event says. Anyone who may invoke the function directly can write any event, and so may do everything here.
 */
export const handler = lambdaHandler(
  (event, { services, ...invocation }) => {
    if (!isHttpEvent(event)) {
      throw new InvalidRequestError(
        'event',
        'this is not a request of an HTTP API (payload 2.0); invoke the function "pull"',
      );
    }
    const { config, deployment, records, jobs, pull } = services;
    const canSign = (deployment.signingSecret ?? deployment.signingKeyFile) !== undefined;
    const keys = canSign ? services : undefined;
    const { access, serve } = config;
    return answerRequest({ ...pull, access, serve, deployment, records, jobs, keys }, event, invocation);
  },
  { http: true },
);
