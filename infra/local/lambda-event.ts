import type { Context } from 'aws-lambda';

/** What Lambda says is left of the invocation. */
const REMAINING_MS = 900_000;

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
