import { SFNClient } from '@aws-sdk/client-sfn';
import { NodeHttpHandler } from '@smithy/node-http-handler';

export interface SfnConnection {
  /** Where the state machine is, if not where the SDK's own variables say. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** 4 where this does not say it. */
  readonly maxAttempts?: number;
}

/**
 * A client for the workflow service. Endpoint, region and credentials come from the SDK's own variables unless `connection` says otherwise.
 *
 * Somebody waits for the answer, so time-outs are short; the SDK retries throttling, 5xx and resets with back-off.
 */
export function sfnClient(connection: SfnConnection = {}): SFNClient {
  return new SFNClient({
    maxAttempts: 4,
    ...connection,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 2_000,
      requestTimeout: 5_000,
      throwOnRequestTimeout: true,
    }),
  });
}
