import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { bury } from './deliveries.ts';
import type { Functions } from './functions.ts';

/** A queue, and how its function gets the messages. */
export interface Queue {
  readonly arn: string;
  readonly functionName: string;
  readonly batchSize: number;
  /** How long a batch waits for further messages. */
  readonly windowMs: number;
  /** Maximum number of concurrent batches. */
  readonly concurrency: number;
  /** A message that failed this often becomes a dead letter. */
  readonly maxReceives: number;
}

/** SQS with Lambda's event source mappings, as far as rules use them: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html */
export interface Queues extends AsyncDisposable {
  /** Queues the event for a batch of the queue's function. Never throws. */
  send(queue: Queue, event: unknown): void;
  /** Running batches end with their function; the other messages become dead letters. Idempotent. */
  close(): Promise<void>;
}

interface Message {
  readonly id: string;
  readonly event: unknown;
  readonly body: string;
  readonly sentMs: number;
  firstReceivedMs?: number;
  receives: number;
}

interface OpenQueue {
  readonly queue: Queue;
  readonly messages: Message[];
  readers: number;
}

/** The visibility timeout of the queue is minutes: too long for a local application. */
const RETRY_AFTER_MS = 1_000;

/** `logs` gets the dead letters. */
export function startQueues(functions: Functions, logs: string): Queues {
  const closing = new AbortController();
  const { signal } = closing;
  const isClosing = (): boolean => signal.aborted;
  const open = new Map<string, OpenQueue>();
  const underWay = new Set<Promise<void>>();

  const handle = async (queue: Queue, batch: readonly Message[]): Promise<readonly Message[]> => {
    for (const message of batch) {
      message.receives += 1;
      message.firstReceivedMs ??= Date.now();
    }
    const failed = await failedOf(functions, queue, batch);
    for (const [{ event, receives }, error] of failed) {
      if (receives >= queue.maxReceives) bury(logs, queue.functionName, event, error);
    }
    return [...failed.keys()].filter(({ receives }) => receives < queue.maxReceives);
  };
  const read = async (here: OpenQueue): Promise<void> => {
    const { queue, messages } = here;
    while (messages.length > 0 && !isClosing()) {
      if (messages.length < queue.batchSize) await pause(queue.windowMs, signal);
      const again = isClosing() ? [] : await handle(queue, messages.splice(0, queue.batchSize));
      if (again.length > 0) await pause(RETRY_AFTER_MS, signal);
      messages.push(...again);
    }
    here.readers -= 1;
  };

  const close = async (): Promise<void> => {
    closing.abort();
    await Promise.all(underWay);
    for (const { queue, messages } of open.values()) {
      const stopped = new Error(`${queue.functionName} was not run: the application is being stopped`);
      for (const { event } of messages.splice(0)) bury(logs, queue.functionName, event, stopped);
    }
  };
  return {
    send: (queue, event) => {
      const here = open.get(queue.arn) ?? { queue, messages: [], readers: 0 };
      open.set(queue.arn, here);
      here.messages.push({ id: randomUUID(), event, body: JSON.stringify(event), sentMs: Date.now(), receives: 0 });
      if (here.readers === queue.concurrency) return;
      here.readers += 1;
      const reading = read(here).finally(() => underWay.delete(reading));
      underWay.add(reading);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The messages to retry, each with the reason. Never rejects. */
async function failedOf(
  functions: Functions,
  queue: Queue,
  batch: readonly Message[],
): Promise<ReadonlyMap<Message, unknown>> {
  if (batch.length === 0) return new Map();
  try {
    const answer = await functions.invoke(queue.functionName, { Records: batch.map((one) => recordOf(queue, one)) });
    const failed = failuresIn(answer, batch);
    return new Map(failed.map((message) => [message, new Error(`${queue.functionName} named the message as failed`)]));
  } catch (error) {
    return new Map(batch.map((message) => [message, error]));
  }
}

/**
 * The messages named in `batchItemFailures`. None is success; an unknown name fails the whole batch:
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
function failuresIn(answer: unknown, batch: readonly Message[]): readonly Message[] {
  const { batchItemFailures: failures } = (answer ?? {}) as { readonly batchItemFailures?: unknown };
  if (failures === undefined || failures === null) return [];
  if (!Array.isArray(failures)) return batch;
  const named = failures.map((failure: unknown) => {
    const { itemIdentifier } = (failure ?? {}) as { readonly itemIdentifier?: unknown };
    return batch.find(({ id }) => id === itemIdentifier);
  });
  const known = named.filter((message) => message !== undefined);
  return known.length < named.length ? batch : [...new Set(known)];
}

function recordOf({ arn }: Queue, message: Message): object {
  const { id, body, sentMs, firstReceivedMs = sentMs, receives } = message;
  return {
    messageId: id,
    receiptHandle: randomUUID(),
    body,
    attributes: {
      ApproximateReceiveCount: String(receives),
      SentTimestamp: String(sentMs),
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: String(firstReceivedMs),
    },
    messageAttributes: {},
    md5OfBody: createHash('md5').update(body).digest('hex'),
    eventSource: 'aws:sqs',
    eventSourceARN: arn,
    awsRegion: arn.split(':')[3],
  };
}

/** Ends early when the application stops. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
