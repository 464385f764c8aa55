import { DescribeEventBusCommand, EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { must, SkipError, type Check } from './check.ts';
import type { Target } from './target.ts';

interface EventsFixture extends AsyncDisposable {
  readonly client: EventBridgeClient;
  readonly bus: string;
}

/** @returns SkipError if the deployment names no event bus. */
export function openEventsFixture({ deployment, region }: Target): EventsFixture | SkipError {
  if (deployment instanceof SkipError) return deployment;
  const { bus } = deployment;
  if (bus === null) return new SkipError('the deployment names no event bus');
  const client = new EventBridgeClient({ region });
  return {
    client,
    bus,
    [Symbol.asyncDispose]() {
      client.destroy();
      return Promise.resolve();
    },
  };
}

/** None of our rules matches an event of this source (infra/resources/rules.ts). */
const HARMLESS = { Source: 'entrepot', DetailType: 'Doctor' };

const put = async ({ client, bus }: EventsFixture, detail: string, abortSignal: AbortSignal) => {
  const entry = { ...HARMLESS, EventBusName: bus, Detail: detail };
  const { FailedEntryCount: failed, Entries: entries = [] } = await client.send(
    new PutEventsCommand({ Entries: [entry] }),
    { abortSignal },
  );
  return { failed: failed ?? 0, eventId: entries[0]?.EventId, code: entries[0]?.ErrorCode };
};

/** What EventBridge must do. */
export const EVENTS_CHECKS: readonly Check<EventsFixture>[] = [
  {
    id: 'events-bus',
    claim: 'the event bus exists',
    awsOnly: 'its event bus takes events alone',
    async run({ client, bus }, signal) {
      const { Arn: arn } = await client.send(new DescribeEventBusCommand({ Name: bus }), { abortSignal: signal });
      must(arn !== undefined, 'DescribeEventBus named no ARN');
      return arn;
    },
  },
  {
    id: 'events-put',
    claim: 'the bus accepts an event',
    async run(fixture, signal) {
      const { failed, eventId, code } = await put(fixture, JSON.stringify({ by: 'entrepot doctor' }), signal);
      must(failed === 0 && eventId !== undefined, `${failed} failed: ${code ?? 'no code'}`);
      return `event ${eventId}`;
    },
  },
  {
    id: 'events-put-refused',
    claim: 'PutEvents answers 200 also if it accepted nothing, and reports each failed entry',
    async run(fixture, signal) {
      const { failed, code } = await put(fixture, 'no JSON', signal);
      must(failed === 1 && code !== undefined, `${failed} failed: ${code ?? 'no code'}`);
      return `1 failed: ${code}`;
    },
  },
];
