import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { closeServer } from '../processes.ts';
import type { Deliveries } from './deliveries.ts';
import type { Queue, Queues } from './queues.ts';
import { readBounded } from './read-bounded.ts';

/** A pattern of an EventBridge rule, as JSON has it. */
export type EventPattern = Readonly<Record<string, unknown>>;

/**
 * Whether the event matches: every field of the pattern is in the event, with one of the values listed.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
 *
 * @throws Error for an unknown operator: a guess would deliver or lose events that AWS would not.
 */
export function matchesPattern(pattern: EventPattern, event: unknown): boolean {
  return Object.entries(pattern).every(([name, wanted]) => {
    const value = isObject(event) ? event[name] : undefined;
    if (Array.isArray(wanted)) return wanted.some((one) => matchesOne(one, value));
    if (isObject(wanted)) return matchesPattern(wanted, value);
    throw new Error(`the event pattern has ${JSON.stringify(wanted)} for ${name}; write a list of values`);
  });
}

/** One matching member of a list in the event is enough. */
function matchesOne(wanted: unknown, value: unknown): boolean {
  if (isObject(wanted) && 'exists' in wanted) return wanted.exists === (value !== undefined);
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.some((one) => (isObject(wanted) ? matchesOperator(wanted, one) : one === wanted));
}

function matchesOperator(operator: Record<string, unknown>, value: unknown): boolean {
  const [[name, argument] = []] = Object.entries(operator);
  switch (name) {
    case 'prefix':
      return typeof value === 'string' && value.startsWith(String(argument));
    case 'suffix':
      return typeof value === 'string' && value.endsWith(String(argument));
    case 'wildcard':
      return typeof value === 'string' && wildcard(String(argument)).test(value);
    case 'anything-but':
      return value !== undefined && !matchesAny(argument, value);
    default:
      throw new Error(`the event pattern has the operator ${JSON.stringify(name)}, which the local bus does not know`);
  }
}

const matchesAny = (argument: unknown, value: unknown): boolean =>
  (Array.isArray(argument) ? argument : [argument]).some((one) => matchesOne(one, value));

const wildcard = (text: string): RegExp =>
  new RegExp(`^${text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`, 's');

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An event as rules and functions see it. */
export interface BusEvent {
  readonly version: '0';
  readonly id: string;
  readonly 'detail-type': string;
  readonly source: string;
  readonly account: string;
  readonly time: string;
  readonly region: string;
  readonly resources: readonly string[];
  readonly detail: unknown;
}

/** Events on the bus that match the pattern go to the target. */
export interface BusRule {
  readonly bus: string;
  readonly pattern: EventPattern;
  /** The name of a function, or a queue that one reads. */
  readonly target: string | Queue;
}

export interface EventBus extends AsyncDisposable {
  /** For AWS_ENDPOINT_URL_EVENTBRIDGE. */
  readonly endpoint: string;
  /** Puts an event, as AWS services do. */
  put(bus: string, event: object): void;
  /** The last events, oldest first. */
  recent(): readonly { readonly bus: string; readonly event: object }[];
  /** Ends every connection. Idempotent. */
  close(): Promise<void>;
}

export interface EventBusOptions {
  readonly region: string;
  readonly accountId: string;
  /** Names, besides `default`. */
  readonly buses: readonly string[];
  readonly rules: readonly BusRule[];
  readonly deliveries: Deliveries;
  readonly queues: Queues;
}

/** https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html */
const MAX_ENTRIES = 10;
const MAX_BODY_BYTES = 1024 * 1024;
/** Remembered events. */
const RECENT = 200;
/** Longer than any SDK keeps idle connections, so that none is closed under a new request. */
const KEEP_ALIVE_MS = 60_000;
const TARGET = 'AWSEvents.PutEvents';
const JSON_1_1 = 'application/x-amz-json-1.1';

interface Refusal {
  readonly ErrorCode: string;
  readonly ErrorMessage: string;
}

/**
 * EventBridge on loopback for PutEvents of the AWS SDK, with the rules of one application. Signatures are not verified. A web page cannot call it:
 * browsers send a preflight request for this content type, which is not answered.
 */
export async function startEventBus(options: EventBusOptions): Promise<EventBus> {
  const { region, accountId, rules, deliveries, queues } = options;
  const buses = new Set(['default', ...options.buses]);
  const recent: { bus: string; event: object }[] = [];

  const put = (bus: string, event: object): void => {
    recent.push({ bus, event });
    if (recent.length > RECENT) recent.shift();
    for (const { target } of rules.filter((rule) => rule.bus === bus && matchesPattern(rule.pattern, event))) {
      if (typeof target === 'string') deliveries.deliver(target, event);
      else queues.send(target, event);
    }
  };
  const take = (entry: unknown): { EventId: string } | Refusal => {
    const event = eventOf(entry, region, accountId);
    if ('ErrorCode' in event) return event;
    const { EventBusName: named = 'default' } = entry as { EventBusName?: string };
    const bus = named.slice(named.lastIndexOf('/') + 1); // Of an ARN the name is the last part.
    if (!buses.has(bus)) {
      return { ErrorCode: 'ResourceNotFoundException', ErrorMessage: `Event bus ${bus} does not exist.` };
    }
    put(bus, event);
    return { EventId: event.id };
  };

  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    answer(request, response, take).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): Promise<void> => closeServer(server);
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    put,
    recent: () => recent,
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  take: (entry: unknown) => { EventId: string } | Refusal,
): Promise<void> {
  const body = await readBounded(request, MAX_BODY_BYTES);
  const { 'content-type': type, 'x-amz-target': target } = request.headers;
  if (request.method !== 'POST' || type !== JSON_1_1 || target !== TARGET) {
    refuse(response, 'UnknownOperationException', `POST ${TARGET} as ${JSON_1_1} is the only request supported here`);
    return;
  }
  const entries = entriesOf(body);
  if (entries === undefined) {
    refuse(response, 'ValidationException', `Entries must be a list of 1 to ${MAX_ENTRIES}`);
    return;
  }
  const Entries = entries.map(take);
  const FailedEntryCount = Entries.filter((entry) => 'ErrorCode' in entry).length;
  send(response, 200, { FailedEntryCount, Entries });
}

function entriesOf(body: Buffer): readonly unknown[] | undefined {
  const { Entries: entries } = (parsedObject(body.toString('utf8')) ?? {}) as { Entries?: unknown };
  const isList = Array.isArray(entries) && entries.length > 0 && entries.length <= MAX_ENTRIES;
  return isList ? (entries as readonly unknown[]) : undefined;
}

function eventOf(entry: unknown, region: string, account: string): BusEvent | Refusal {
  const { Source, DetailType, Detail, Resources = [], Time } = (entry ?? {}) as Record<string, unknown>;
  if (typeof Source !== 'string' || typeof DetailType !== 'string' || typeof Detail !== 'string') {
    return { ErrorCode: 'InvalidArgument', ErrorMessage: 'Source, DetailType and Detail are all needed.' };
  }
  const detail = parsedObject(Detail);
  if (detail === undefined) return { ErrorCode: 'MalformedDetail', ErrorMessage: 'Detail is malformed.' };
  const time = typeof Time === 'number' ? new Date(Time * 1000) : new Date();
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': DetailType,
    source: Source,
    account,
    time: `${time.toISOString().slice(0, 19)}Z`,
    region,
    resources: Array.isArray(Resources) ? Resources.map(String) : [],
    detail,
  };
}

function parsedObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined; // Not JSON: the caller reports it.
  }
}

function refuse(response: ServerResponse, code: string, message: string): void {
  send(response, 400, { __type: code, message });
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': JSON_1_1, 'x-amzn-requestid': randomUUID() });
  response.end(JSON.stringify(body));
}
