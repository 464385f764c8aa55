import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { NodeHttpHandler } from '@smithy/node-http-handler';

export interface DynamoConnection {
  /** Where the table is, if not where the SDK's own variables say. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/**
 * A client for the table. Endpoint, region and credentials come from the SDK's own variables unless `connection` says otherwise.
 *
 * Time-outs are short because every request is small: a lost connection must not outlive a lease. The time for connecting also counts a request's wait
 * for one of the agent's 50 sockets, so it is no shorter than the other: many requests at once are no fault. The SDK retries throttling, 5xx and
 * resets with back-off.
 */
export function dynamoClient(connection: DynamoConnection = {}): DynamoDBClient {
  return new DynamoDBClient({
    ...connection,
    maxAttempts: 5,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 5_000,
      requestTimeout: 5_000,
      throwOnRequestTimeout: true,
    }),
  });
}
