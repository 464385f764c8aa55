import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { sleep } from '../async/time.ts';
import { CatalogError } from '../errors/cache-error.ts';

export interface DynamoConnection {
  /** Overrides the endpoint of the SDK's own variables. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/**
 * A client for the table. Endpoint, region and credentials come from the SDK's own variables, unless
 * `connection` overrides them.
 *
 * Time-outs are short because every request is small: a lost connection must not outlive a lease. The
 * connection time-out includes the wait for one of the agent's 50 sockets, so it is as long as the other:
 * many requests at once are not an error. The SDK retries throttling, 5xx and resets with back-off.
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

/** Rounds with unprocessed keys or items before it is an error. */
export const ROUNDS = 10;
/** How long conflicts with other writers are retried, within the caller's deadline. */
export const CONFLICT_PATIENCE_MS = 5 * 60_000;
/** Errors of a busy table. The SDK has retried most of them; the same call may succeed later. */
export const PASSING = /Conflict|InProgress|Throttl|ThroughputExceeded|RequestLimitExceeded/;

/** How long to wait before the next round, with full jitter. */
export const backOffMs = (round: number): number => Math.random() * Math.min(2_000, 25 * 2 ** round);

/**
 * Sends, and sends again after a conflict with a transaction on the same row. The SDK does not retry
 * conflicts, as it does throttling, 5xx and broken connections; and every publish is a transaction on a row
 * that lease renewals and waiters write, too.
 */
export async function attempt<T>(op: string, signal: AbortSignal, send: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  for (let round = 1; ; round++) {
    signal.throwIfAborted();
    try {
      return await send();
    } catch (error) {
      signal.throwIfAborted();
      if (!isConflict(error) || performance.now() - startedMs > CONFLICT_PATIENCE_MS) throw failed(op, error);
    }
    await sleep(backOffMs(round), signal);
  }
}

const isConflict = (error: unknown): boolean => (error as { name?: string }).name === 'TransactionConflictException';

function failed(op: string, error: unknown): CatalogError {
  const {
    name = '',
    message,
    code,
    $fault,
  } = error as { name?: string; message?: string; code?: string; $fault?: string };
  const retryable = $fault !== 'client' || PASSING.test(name);
  // The SDK's message names the account and the role, and ours goes to callers: theirs stays in the cause, for the log.
  const words = name.includes('AccessDenied')
    ? 'the role needs the right to the table'
    : message === ''
      ? code
      : message;
  const why = [name, words].filter(Boolean).join(': ');
  const advice = retryable ? 'try again' : 'trying again will not help';
  return new CatalogError(op, `DynamoDB failed to ${op}: ${why}; ${advice}`, error, retryable);
}
