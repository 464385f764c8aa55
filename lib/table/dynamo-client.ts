import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { sleep } from '../async/time.ts';
import { CatalogError } from '../errors/cache-error.ts';

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

/** Rounds of `UnprocessedKeys`, or of throttling, before it is an error. */
export const ROUNDS = 10;
/** Conflicts end when those who came first have written: they are waited out, until the caller's deadline, but not for ever. */
export const CONFLICT_PATIENCE_MS = 5 * 60_000;
/** Errors of a busy table. The SDK retried most of them already; the same call may succeed later. */
export const PASSING = /Conflict|InProgress|Throttl|ThroughputExceeded|RequestLimitExceeded/;

/** How long to wait before the next round, with full jitter. */
export const backOffMs = (round: number): number => Math.random() * Math.min(2_000, 25 * 2 ** round);

/**
 * What `send` gives. A single write that met a transaction on the same row is sent again: unlike throttling, 5xx and broken connections, the SDK
 * does not retry that, and every publish is a transaction over the row that its own renewals and its waiters write to.
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
  // A refusal names the account and the role, and messages go to callers: those words are in the cause, for the log.
  const words = name.includes('AccessDenied')
    ? 'the role needs the right to the table'
    : message === ''
      ? code
      : message;
  const why = [name, words].filter(Boolean).join(': ');
  const advice = retryable ? 'try again' : 'trying again will not help';
  return new CatalogError(op, `DynamoDB failed to ${op}: ${why}; ${advice}`, error, retryable);
}
