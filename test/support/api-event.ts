import { httpEvent } from './http-event.ts';

/** An event of API Gateway's HTTP API for a request that its IAM authoriser admitted. */
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
