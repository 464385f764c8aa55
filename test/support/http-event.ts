import type { APIGatewayProxyEventV2, Context } from 'aws-lambda';

/** A request as API Gateway's HTTP API gives it to a function (payload 2.0). */
export function httpEvent(
  body: string,
  changes: Partial<APIGatewayProxyEventV2> = {},
  method = 'POST',
): APIGatewayProxyEventV2 {
  const path = '/v1/pull';
  return {
    version: '2.0',
    routeKey: `${method} ${path}`,
    rawPath: path,
    rawQueryString: '',
    headers: { 'content-type': 'application/json' },
    requestContext: {
      accountId: '123456789012',
      apiId: 'api',
      domainName: 'api.example.test',
      domainPrefix: 'api',
      http: { method, path, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'test' },
      requestId: 'request',
      routeKey: `${method} ${path}`,
      stage: '$default',
      time: '01/Jan/2025:00:00:00 +0000',
      timeEpoch: 1735689600000,
    },
    body,
    isBase64Encoded: false,
    ...changes,
  };
}

/** The context of an invocation of Lambda. */
export function lambdaContext(remainingMs = 60_000): Context {
  const endMs = performance.now() + remainingMs;
  const context: Omit<Context, 'done' | 'fail' | 'succeed'> = {
    callbackWaitsForEmptyEventLoop: true,
    functionName: 'pull',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:us-east-1:123456789012:function:pull',
    memoryLimitInMB: '1024',
    awsRequestId: '00000000-0000-4000-8000-000000000001',
    logGroupName: '/aws/lambda/pull',
    logStreamName: 'stream',
    getRemainingTimeInMillis: () => endMs - performance.now(),
  };
  // Lambda's Node 24 has no done, fail and succeed any more, whatever the types say.
  return context as Context;
}
