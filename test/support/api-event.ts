import { httpEvent } from './http-event.ts';

/** A request as API Gateway's HTTP API gives it to a function once its IAM authoriser let it in. */
export function apiEvent(method: string, path: string, body?: object): object {
  const event = httpEvent(body === undefined ? '' : JSON.stringify(body), {}, method);
  const iam = { userArn: 'arn:aws:iam::123456789012:user/test', accountId: '123456789012' };
  const { requestContext } = event;
  return {
    ...event,
    rawPath: path,
    routeKey: `${method} ${path}`,
    requestContext: { ...requestContext, authorizer: { iam }, http: { ...requestContext.http, path } },
  };
}
