import type { FaultAction, FaultProxy, FaultRule } from '../../support/http-fault-proxy.ts';
import type { Misbehaviour } from '../../support/misbehaving-table.ts';
import { below, pick } from '../../support/random.ts';
import { dynamoError } from '../../support/table-under-test.ts';
import type { Laboratory, Proxies } from './laboratory.ts';
import type { Repertoire } from './repertoire.ts';

/** What can happen to a request. `late`: it takes a while. `frozen`: a process stands still before a transaction. */
export type Disturbance = 'lost answer' | 'reset' | 'throttled' | 'conflict' | 'late' | 'frozen';

const LATEST_MS = 60;
/** Others come to their end meanwhile. */
const FROZEN_MS = 350;
/** Requests that a fault lets pass at most before it takes one. About as many as a small pull sends to either service. */
const MOST_SKIPPED = 40;

/** Writes of one kind that pass at most before a process stands still. */
const MOST_WRITTEN = 2;
const MOST_STANDSTILLS = 4;
/** About as long as a lease of the laboratory: what is done under it may be taken over. */
const LONGEST_STANDSTILL_MS = 1_200;

/** The chance of a schedule to have a table that misbehaves, and of each way of doing so then. */
const MISBEHAVING = 0.5;
const EACH = 0.4;
/** Making a copy of the table that lags behind takes longer than the rest of a schedule. */
const LATE = 0.05;

const MISBEHAVIOURS: readonly Misbehaviour[] = [
  { conflicts: { hold: 60, odds: 0.5 } },
  { unprocessed: { odds: 0.3 } },
  { throttled: { odds: 0.05 } },
  { lostAnswers: { odds: 0.05 } },
];
const LATE_READS: Misbehaviour = { late: { lagMs: 100, odds: 0.5 } };

/** What was arranged. */
export interface Disturbed {
  readonly notes: readonly string[];
  /** Eventually consistent reads may be from before what everybody knows. */
  readonly isLate: boolean;
}

/** The only place of the exploration that knows the rules of the proxies: what else they learn to do is added here. */
export async function disturb(
  { proxies, standstills }: Laboratory,
  faults: number,
  { disturbances, standstills: steps }: Repertoire,
  random: () => number,
): Promise<Disturbed> {
  const notes: string[] = [];
  for (let i = 0; i < faults; i++) {
    const kind = pick(random, disturbances);
    const service = serviceOf(kind, random);
    const rule = ruleOf(kind, service, random);
    proxies[service].rules.push(rule);
    notes.push(`${service}: ${kind} after ${rule.skip ?? 0} requests`);
  }
  for (let i = 1 + below(random, MOST_STANDSTILLS); i > 0; i--) {
    const rule = {
      step: pick(random, steps),
      skip: below(random, MOST_WRITTEN),
      forMs: below(random, LONGEST_STANDSTILL_MS),
    };
    standstills.rules.push(rule);
    notes.push(`a standstill before ${rule.step} after ${rule.skip} of them`);
  }
  const isLate = random() < LATE;
  const some = random() < MISBEHAVING ? MISBEHAVIOURS.filter(() => random() < EACH) : [];
  const how = [...some, ...(isLate ? [LATE_READS] : [])].reduce((all, one) => ({ ...all, ...one }), {});
  for (const name of Object.keys(how)) notes.push(`the table misbehaves: ${name}`);
  await proxies.dynamo.misbehave(how);
  return { notes, isLate };
}

export async function calm({ proxies, standstills }: Laboratory): Promise<void> {
  standstills.rules.length = 0;
  await proxies.dynamo.misbehave({});
  for (const { rules, log } of Object.values(proxies) as FaultProxy[]) {
    rules.length = 0;
    log.length = 0;
  }
}

function serviceOf(kind: Disturbance, random: () => number): keyof Proxies {
  return kind === 'conflict' || kind === 'frozen' || random() < 0.6 ? 'dynamo' : 's3';
}

function ruleOf(kind: Disturbance, service: keyof Proxies, random: () => number): FaultRule {
  const skip = below(random, MOST_SKIPPED);
  switch (kind) {
    case 'lost answer':
      return { skip, times: 1, action: { kind: 'lose-answer' } };
    case 'reset':
      return { skip, times: 1, action: { kind: 'reset' } };
    case 'late':
      return { skip, times: 1 + below(random, 4), action: { kind: 'delay', delayMs: below(random, LATEST_MS) } };
    case 'frozen':
      // As long as this before a transaction, what it rests on may be otherwise.
      return { ...TRANSACTION, skip: below(random, 8), times: 1, action: FROZEN };
    case 'throttled':
      return { skip, times: 1, action: service === 's3' ? SLOW_DOWN : dynamoError('ThrottlingException') };
    case 'conflict':
      return { ...TRANSACTION, skip: below(random, 4), times: 1, action: CONFLICT };
  }
}

const TRANSACTION = { headers: { 'x-amz-target': /\.TransactWriteItems$/ } };

const FROZEN: FaultAction = { kind: 'delay', delayMs: FROZEN_MS };

const SLOW_DOWN: FaultAction = {
  kind: 'answer',
  answer: {
    status: 503,
    body: '<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>',
  },
};

const CONFLICT = dynamoError('TransactionCanceledException', {
  Message: 'Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict]',
  CancellationReasons: [
    { Code: 'TransactionConflict' },
    { Code: 'None' },
    { Code: 'None' },
    { Code: 'None' },
    { Code: 'None' },
  ],
});
