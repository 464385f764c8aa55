import { EventBridgeClient, type EventBridgeClientConfig, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { CacheError } from '../errors/cache-error.ts';
import type { Announcement, Announcer } from './announcer.ts';

/** An announcer on an event bus, from {@link eventsAnnouncer}. */
export interface EventsAnnouncer extends Announcer {
  /** Closes its connections. */
  close(): void;
}

export interface EventsAnnouncerOptions {
  /** Name or ARN of the event bus. */
  readonly bus: string;
  /** Overrides the SDK's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL_EVENTBRIDGE`, …). */
  readonly client?: Pick<EventBridgeClientConfig, 'endpoint' | 'region' | 'credentials'>;
}

/** The source by which rules match our events. */
export const EVENT_SOURCE = 'entrepot';
const OP = 'announce';
/** EventBridge accepts at most 256 KB per entry, with source and detail type: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html */
const MAX_DETAIL_BYTES = 250 * 1000;

/** Announces on an event bus. An event that is too large is sent without its longest list, and with `trimmed: true`. */
export function eventsAnnouncer(options: EventsAnnouncerOptions): EventsAnnouncer {
  const { bus } = options;
  const client = new EventBridgeClient({
    ...options.client,
    maxAttempts: 4,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 2_000,
      requestTimeout: 5_000,
      throwOnRequestTimeout: true,
    }),
  });
  return {
    async announce(announcement, signal) {
      const { type } = announcement;
      const entry = {
        EventBusName: bus,
        Source: EVENT_SOURCE,
        DetailType: type,
        Detail: detailOf(announcement),
      };
      const answer = await put(client, new PutEventsCommand({ Entries: [entry] }), `${type} on ${bus}`, signal);
      // PutEvents answers 200 also if it accepted nothing.
      if ((answer.FailedEntryCount ?? 0) === 0) return;
      const { ErrorCode: code, ErrorMessage: message } = answer.Entries?.[0] ?? {};
      throw failed(
        `event bus ${bus} did not accept ${JSON.stringify(type)}: ${code ?? 'no code'}, ${message ?? 'no reason'}`,
      );
    },
    close: () => client.destroy(),
  };
}

async function put(
  client: EventBridgeClient,
  command: PutEventsCommand,
  what: string,
  signal: AbortSignal,
): ReturnType<typeof send> {
  try {
    return await send();
  } catch (error) {
    signal.throwIfAborted();
    const name = error instanceof Error ? error.name : 'unknown error';
    throw failed(`PutEvents failed for ${what}: ${name}; the role needs events:PutEvents on the bus`, error);
  }

  function send() {
    return client.send(command, { abortSignal: signal });
  }
}

const failed = (message: string, cause?: unknown): CacheError =>
  new CacheError(message, { op: OP, origin: 'catalog', retryable: true, cause });

/** The detail as JSON, small enough for EventBridge. */
export function detailOf(announcement: Announcement): string {
  const whole = JSON.stringify(announcement.detail);
  return Buffer.byteLength(whole) <= MAX_DETAIL_BYTES ? whole : JSON.stringify(trimmed(announcement));
}

/** Ids, one reference and counts, which are bounded. The PULL row has the whole receipt. */
function trimmed(announcement: Announcement): object {
  switch (announcement.type) {
    case 'Image Cached': {
      const { pullId, receipt } = announcement.detail;
      return { pullId, receipt: { ...receipt, platforms: [], skipped: [] }, trimmed: true };
    }
    case 'Warmup Finished':
      return { ...announcement.detail, pulls: [], failures: [], trimmed: true };
    case 'Pull Failed': {
      const { error, ...detail } = announcement.detail;
      return { ...detail, error: { ...error, message: `${error.message.slice(0, 4096)}…` }, trimmed: true };
    }
  }
}
