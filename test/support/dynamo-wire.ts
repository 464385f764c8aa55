import type { AttributeValue, WriteRequest } from '@aws-sdk/client-dynamodb';
import type { FaultAnswer, FaultRequest } from './http-fault-proxy.ts';

export type Row = Record<string, AttributeValue>;

/** The parts of a DynamoDB request that faults check. */
export interface DynamoInput {
  TableName?: string;
  ConsistentRead?: boolean;
  ClientRequestToken?: string;
  Key?: Row;
  Item?: Row;
  TransactItems?: Record<string, { TableName: string; Key?: Row; Item?: Row }>[];
  RequestItems?: Record<string, { Keys: Row[]; ConsistentRead?: boolean } | WriteRequest[]>;
}

/** `PutItem`, … */
export const operationOf = ({ headers }: Pick<FaultRequest, 'headers'>): string =>
  String(headers['x-amz-target']).replace(/^.*\./, '');

/** An answer of DynamoDB, as sent. */
export const dynamoAnswer = (body: unknown, status = 200): FaultAnswer => ({
  status,
  headers: { 'content-type': 'application/x-amz-json-1.0' },
  body: JSON.stringify(body),
});

/** An error of DynamoDB, as sent. */
export function dynamoRefusal(name: string, fields: Record<string, unknown> = {}, status = 400): FaultAnswer {
  const namespace =
    name === 'ThrottlingException' ? 'com.amazon.coral.availability' : 'com.amazonaws.dynamodb.v20120810';
  return dynamoAnswer({ __type: `${namespace}#${name}`, message: `injected ${name}`, ...fields }, status);
}

/** A transaction that did not happen, with the reason of each of its items. */
export function cancelled(codes: readonly string[]): FaultAnswer {
  return dynamoRefusal('TransactionCanceledException', {
    message: `Transaction cancelled, please refer cancellation reasons for specific reasons [${codes.join(', ')}]`,
    CancellationReasons: codes.map((Code) => ({ Code })),
  });
}

export const inputOf = ({ body }: Pick<FaultRequest, 'body'>): DynamoInput =>
  JSON.parse(body.toString('utf8')) as DynamoInput;

/** An item that a request names. */
interface ItemOf {
  readonly id: string;
  readonly key: Row;
}

function itemOf(table: string | undefined, { pk, sk }: Row): ItemOf {
  return { id: JSON.stringify([table, pk?.S, sk?.S]), key: { pk: pk!, sk: sk! } };
}

const keyOfEntry = (entry: Row | WriteRequest): Row =>
  ((entry as WriteRequest).PutRequest?.Item ?? (entry as WriteRequest).DeleteRequest?.Key ?? entry) as Row;

const entriesOf = (batch: { Keys: Row[] } | WriteRequest[]): (Row | WriteRequest)[] =>
  Array.isArray(batch) ? batch : batch.Keys;

/** The items that a request names by their keys, in its order. */
export function itemsOf({ TableName, Key, Item, TransactItems = [], RequestItems = {} }: DynamoInput): ItemOf[] {
  const single = Key ?? Item;
  return [
    ...(single === undefined ? [] : [itemOf(TableName, single)]),
    ...TransactItems.flatMap((action) =>
      Object.values(action).map((one) => itemOf(one.TableName, one.Key ?? one.Item ?? {})),
    ),
    ...Object.entries(RequestItems).flatMap(([table, batch]) =>
      entriesOf(batch).map((entry) => itemOf(table, keyOfEntry(entry))),
    ),
  ];
}

/** The batch with the entries that `keep` names, and no other. */
export function narrowed(input: DynamoInput, keep: (id: string) => boolean): DynamoInput {
  const RequestItems: NonNullable<DynamoInput['RequestItems']> = {};
  for (const [table, batch] of Object.entries(input.RequestItems ?? {})) {
    const isKept = (entry: Row | WriteRequest): boolean => keep(itemOf(table, keyOfEntry(entry)).id);
    const kept = entriesOf(batch).filter(isKept);
    if (kept.length === 0) continue;
    RequestItems[table] = Array.isArray(batch) ? kept : { ...batch, Keys: kept as Row[] };
  }
  return { ...input, RequestItems };
}

/** Whether the read is eventually consistent. */
export const isEventual = ({ ConsistentRead, RequestItems = {} }: DynamoInput): boolean =>
  ConsistentRead !== true &&
  Object.values(RequestItems).every((batch) => Array.isArray(batch) || batch.ConsistentRead !== true);

/** The request, for the table `to` instead of `from`. */
export function renamed(input: DynamoInput, from: string, to: string): DynamoInput {
  const { RequestItems, TableName } = input;
  return {
    ...input,
    ...(TableName === from ? { TableName: to } : {}),
    ...(RequestItems === undefined ? {} : { RequestItems: renamedKey(RequestItems, from, to) }),
  };
}

export const renamedKey = <T>(record: Record<string, T>, from: string, to: string): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name === from ? to : name, value]));
