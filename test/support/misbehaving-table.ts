import { setTimeout as sleep } from 'node:timers/promises';
import { dynamoClient, type DynamoConnection } from '../../lib/table/dynamo-client.ts';
import {
  cancelled,
  dynamoAnswer,
  dynamoRefusal,
  inputOf,
  isEventual,
  itemsOf,
  narrowed,
  operationOf,
  renamed,
  renamedKey,
  type DynamoInput,
} from './dynamo-wire.ts';
import { startFaultProxy, type FaultAnswer, type FaultProxy, type FaultRequest } from './http-fault-proxy.ts';
import { startLateReplica, type LateReplica } from './late-replica.ts';

/** The chance that a request meets the fault, from 0 to 1. Default: every one does. */
interface Odds {
  readonly odds?: number;
}

/** Behaviour that DynamoDB allows, and the embedded table lacks. What is left out does not happen. */
export interface Misbehaviour {
  /**
   * A running transaction refuses other transactions and single writes of the same items, checked or written. It runs for `hold` milliseconds, or until the
   * promise settles, before it takes effect; `odds` is the chance that it is held.
   */
  readonly conflicts?: Odds & { readonly hold: number | (() => Promise<unknown>) };
  /** Eventually consistent reads give each row as it was at least `lagMs` ago; `Infinity`: as it is now. Writes past this proxy stay unseen. */
  readonly late?: Odds & { readonly lagMs: number };
  /** A batch leaves half of its items unprocessed. */
  readonly unprocessed?: Odds;
  /** Requests are throttled. */
  readonly throttled?: Odds;
  /** Requests take effect, but their connection is reset instead of the answer. */
  readonly lostAnswers?: Odds;
}

/** A table and its endpoint. */
export interface TableAt extends Omit<DynamoConnection, 'endpoint'> {
  readonly dynamoEndpoint: string;
  readonly table: string;
}

/** A fault proxy in front of DynamoDB that knows its API. Its rules come first, then the misbehaviour. */
export interface MisbehavingTable extends FaultProxy {
  /** Replaces the misbehaviour. What is already held or delayed stays so. */
  misbehave(how: Misbehaviour): Promise<void>;
}

type Forward = (body?: Buffer) => Promise<FaultAnswer>;

const SINGLE_WRITES = new Set(['PutItem', 'UpdateItem', 'DeleteItem']);
const LATE_READS = new Set(['GetItem', 'BatchGetItem', 'Query', 'Scan']);
const ONGOING = 'Transaction is ongoing for the item';

/**
 * Starts it in front of the table, well-behaved unless `how` says otherwise. Random choices are drawn from `seed`, in the order of the requests.
 *
 * Conflicts are those of https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling, except that single writes
 * under way do not refuse a TransactGetItems. That page does not say what becomes of a BatchWriteItem, whose API reference knows no TransactionConflictException: its
 * refused items come back as UnprocessedItems, as after any internal failure.
 */
export async function startMisbehavingTable(
  at: TableAt,
  { seed = 1, ...how }: Misbehaviour & { readonly seed?: number } = {},
): Promise<MisbehavingTable> {
  const { dynamoEndpoint, table, ...connection } = at;
  const direct = dynamoClient({ ...connection, endpoint: dynamoEndpoint });
  const random = randomFrom(seed);
  const meets = (fault: Odds | undefined): boolean => fault !== undefined && random() < (fault.odds ?? 1);
  const replicas: LateReplica[] = [];
  /** The items and tokens of running transactions. */
  const locked = new Set<string>();
  const tokens = new Set<string>();
  let now: Misbehaviour = {};
  let replica: LateReplica | undefined;

  /** Refuses, holds or narrows requests for items of a running transaction. */
  async function withConflicts(operation: string, input: DynamoInput, forward: Forward, faults: string[]) {
    const { conflicts } = now;
    if (conflicts === undefined) return undefined;
    const items = itemsOf(input);
    const isHit = items.map(({ id }) => locked.has(id));
    if (SINGLE_WRITES.has(operation) && isHit[0] === true) {
      faults.push('conflict');
      return dynamoRefusal('TransactionConflictException', { message: ONGOING });
    }
    if (operation !== 'TransactWriteItems' && operation !== 'TransactGetItems') return undefined;
    const token = input.ClientRequestToken;
    if (token !== undefined && tokens.has(token)) {
      faults.push('conflict');
      return dynamoRefusal('TransactionInProgressException');
    }
    if (isHit.includes(true)) {
      faults.push('conflict');
      return cancelled(isHit.map((hit) => (hit ? 'TransactionConflict' : 'None')));
    }
    if (operation === 'TransactGetItems') return undefined;
    for (const { id } of items) locked.add(id);
    if (token !== undefined) tokens.add(token);
    try {
      if (meets(conflicts)) {
        const { hold } = conflicts;
        await (typeof hold === 'number' ? sleep(hold) : Promise.allSettled([hold()]));
      }
      return await forward();
    } finally {
      for (const { id } of items) locked.delete(id);
      if (token !== undefined) tokens.delete(token);
    }
  }

  /** The entries of a batch that stay unprocessed. */
  function leftOut(operation: string, input: DynamoInput, faults: string[]): Set<string> {
    const left = new Set<string>();
    if (operation !== 'BatchGetItem' && operation !== 'BatchWriteItem') return left;
    const ids = itemsOf(input).map(({ id }) => id);
    if (operation === 'BatchWriteItem' && now.conflicts !== undefined) {
      for (const id of ids) if (locked.has(id)) left.add(id);
      if (left.size > 0) faults.push('conflict');
    }
    if (meets(now.unprocessed)) {
      // If every batch has this fault, a batch of one is processed: otherwise nothing would end.
      const some = ids.length === 1 && (now.unprocessed?.odds ?? 1) < 1 ? 1 : Math.floor(ids.length / 2);
      for (const id of shuffled(ids, random).slice(0, some)) left.add(id);
      if (some > 0) faults.push('unprocessed');
    }
    return left;
  }

  async function done(operation: string, input: DynamoInput, forward: Forward, faults: string[]): Promise<FaultAnswer> {
    const left = leftOut(operation, input, faults);
    const asked = left.size === 0 ? input : narrowed(input, (id) => !left.has(id));
    const isLate = LATE_READS.has(operation) && isEventual(input) && meets(now.late);
    if (isLate) faults.push('late');
    const from = isLate ? replica : undefined;
    const sent = from === undefined ? asked : renamed(asked, table, from.table);
    let answer: FaultAnswer;
    if (itemsOf(sent).length === 0 && left.size > 0) answer = dynamoAnswer({});
    else if (sent === input) answer = await forward();
    else answer = await forward(Buffer.from(JSON.stringify(sent)));
    if (sent === input || answer.status !== 200) return answer;
    const body = JSON.parse(String(answer.body)) as Record<string, Record<string, unknown> | undefined>;
    for (const name of ['Responses', 'UnprocessedKeys']) {
      if (from !== undefined && body[name] !== undefined) body[name] = renamedKey(body[name], from.table, table);
    }
    if (left.size === 0) return dynamoAnswer(body);
    const unprocessed = (body.UnprocessedKeys ?? body.UnprocessedItems ?? {}) as NonNullable<
      DynamoInput['RequestItems']
    >;
    for (const { id } of itemsOf({ RequestItems: unprocessed })) left.add(id);
    const remaining = narrowed(input, (id) => left.has(id)).RequestItems;
    return operation === 'BatchGetItem'
      ? dynamoAnswer({ Responses: {}, ...body, UnprocessedKeys: remaining })
      : dynamoAnswer({ ...body, UnprocessedItems: remaining });
  }

  async function intercept(request: FaultRequest, forward: Forward) {
    const operation = operationOf(request);
    const input = inputOf(request);
    const faults: string[] = [];
    const isThrottled = meets(now.throttled);
    const isLost = meets(now.lostAnswers);
    let answer: FaultAnswer;
    if (isThrottled) {
      faults.push('throttled');
      answer = throttled(operation, input, random);
    } else {
      const written = LATE_READS.has(operation) ? [] : itemsOf(input).map(({ key }) => key);
      try {
        answer =
          (await withConflicts(operation, input, forward, faults)) ?? (await done(operation, input, forward, faults));
      } finally {
        // Also after the client disconnected: it may have taken effect.
        replica?.wrote(written);
      }
      if (isLost) faults.push('lost-answer');
    }
    const lost = isLost && !isThrottled;
    return { answer, lost, ...(faults[0] === undefined ? {} : { fault: faults[0] }) };
  }

  const proxy = await startFaultProxy(dynamoEndpoint, intercept);
  const close = async (): Promise<void> => {
    await proxy.close();
    try {
      for (const one of replicas) await one[Symbol.asyncDispose]();
    } finally {
      direct.destroy();
    }
  };
  const misbehave = async (next: Misbehaviour): Promise<void> => {
    const late = next.late === undefined ? undefined : await startLateReplica(direct, table, next.late.lagMs);
    if (late !== undefined) replicas.push(late);
    [now, replica] = [next, late];
  };
  await misbehave(how);
  return { ...proxy, misbehave, close, [Symbol.asyncDispose]: close };
}

function throttled(operation: string, input: DynamoInput, random: () => number): FaultAnswer {
  const isOfTable = random() < 0.5;
  if (!operation.startsWith('Transact')) {
    return dynamoRefusal(isOfTable ? 'ProvisionedThroughputExceededException' : 'ThrottlingException');
  }
  const count = input.TransactItems?.length ?? 0;
  const one = Math.floor(random() * count);
  const code = isOfTable ? 'ProvisionedThroughputExceeded' : 'ThrottlingError';
  return cancelled(Array.from({ length: count }, (_, i) => (i === one ? code : 'None')));
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled<T>(all: readonly T[], random: () => number): T[] {
  const order = [...all];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
