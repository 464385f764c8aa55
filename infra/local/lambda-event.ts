import type { APIGatewayProxyEventV2, Context } from 'aws-lambda';

/** What Lambda says is left of the invocation. */
const REMAINING_MS = 900_000;

/**
 * The event of an API Gateway HTTP API for `POST path` with a JSON body.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html (payload format 2.0)
 */
export function postEvent(path: string, body: unknown): APIGatewayProxyEventV2 {
  const routeKey = `POST ${path}`;
  return {
    version: '2.0',
    routeKey,
    rawPath: path,
    rawQueryString: '',
    headers: { 'content-type': 'application/json', host: 'api.example.test' },
    requestContext: {
      accountId: '000000000000',
      apiId: 'local',
      domainName: 'api.example.test',
      domainPrefix: 'api',
      http: { method: 'POST', path, protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: 'entrepot' },
      requestId: 'local',
      routeKey,
      stage: '$default',
      time: new Date().toISOString(),
      timeEpoch: Date.now(),
    },
    body: JSON.stringify(body),
    isBase64Encoded: false,
  };
}

/** The context of an invocation that has just begun. */
export function lambdaContext(): Context {
  const context: Omit<Context, 'done' | 'fail' | 'succeed'> = {
    awsRequestId: 'local',
    functionName: 'pull',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:pull',
    memoryLimitInMB: '1024',
    logGroupName: '/aws/lambda/pull',
    logStreamName: 'local',
    callbackWaitsForEmptyEventLoop: false,
    getRemainingTimeInMillis: () => REMAINING_MS,
  };
  return context as Context; // Without the three callbacks of Node 0.10, which the types still ask for.
}
