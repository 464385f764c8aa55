import {
  ConditionalCheckFailedException,
  IdempotentParameterMismatchException,
  TransactionCanceledException,
  TransactWriteItemsCommand,
} from '@aws-sdk/client-dynamodb';
import { randomUUID } from 'node:crypto';
import { type Check, must, mustRefuse, refusalOf } from './check.ts';
import type { DynamoFixture, RowUpdate } from './dynamo-table-checks.ts';

const RACERS = 8;
const LOOKS = 5;
/** How a transaction may fail on a conflict with another one; the caller tries again. */
const CONFLICTS: readonly unknown[] = ['None', 'TransactionConflict', 'ThrottlingError'];

const transact = (
  { client }: DynamoFixture,
  updates: readonly RowUpdate[],
  abortSignal: AbortSignal,
  token: string = randomUUID(),
) =>
  client.send(
    new TransactWriteItemsCommand({
      TransactItems: updates.map((Update) => ({ Update })),
      ClientRequestToken: token,
    }),
    { abortSignal },
  );

/** What conditional writes and transactions must do. */
export const DYNAMO_ROW_CHECKS: readonly Check<DynamoFixture>[] = [
  {
    id: 'dynamo-loser-row',
    claim: 'a failed condition returns the current row in the same answer',
    async run(fixture, signal) {
      const update = fixture.increment('loser', 'attribute_not_exists(pk)');
      await fixture.update(update, signal);
      const refusal = await refusalOf(() =>
        fixture.update({ ...update, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' }, signal),
      );
      must(refusal?.error instanceof ConditionalCheckFailedException, `answered ${refusal?.name ?? 'with success'}`);
      const row = refusal.error.Item;
      must(row?.n?.N === '1', `the row that came back: ${JSON.stringify(row ?? null)}`);
      return `${refusal.name} with the row`;
    },
  },
  {
    id: 'dynamo-one-winner',
    claim: 'of concurrent conditional writes exactly one succeeds',
    async run(fixture, signal) {
      const update = fixture.increment('race', 'attribute_not_exists(pk)');
      const refusals = await Promise.all(
        Array.from({ length: RACERS }, () => refusalOf(() => fixture.update(update, signal))),
      );
      const names = refusals.map((refusal) => refusal?.name ?? 'success');
      const expected = ['success', 'ConditionalCheckFailedException'];
      must(
        names.every((name) => expected.includes(name)),
        names.join(', '),
      );
      const winners = names.filter((name) => name === 'success').length;
      const count = await fixture.count('race', signal);
      must(winners === 1 && count === 1, `${winners} of ${RACERS} succeeded, and the row counts ${count}`);
      return `1 of ${RACERS}`;
    },
  },
  {
    id: 'dynamo-consistent-read',
    claim: 'a consistent read sees the write before it',
    async run(fixture, signal) {
      for (let look = 1; look <= LOOKS; look++) {
        await fixture.update(fixture.increment('consistent'), signal);
        const count = await fixture.count('consistent', signal);
        must(count === look, `after write ${look} the row counts ${count}`);
      }
      return `${LOOKS} times of ${LOOKS}`;
    },
  },
  {
    id: 'dynamo-transaction-reasons',
    claim: 'a cancelled transaction writes nothing, and reports for each write whether its condition failed',
    async run(fixture, signal) {
      const writes = [fixture.increment('reasons-1'), fixture.increment('reasons-2', 'attribute_exists(pk)')];
      const refusal = await refusalOf(() => transact(fixture, writes, signal));
      must(refusal?.error instanceof TransactionCanceledException, `answered ${refusal?.name ?? 'with success'}`);
      const reasons = (refusal.error.CancellationReasons ?? []).map(({ Code }) => Code).join(', ');
      must(reasons === 'None, ConditionalCheckFailed', `reasons: ${reasons}`);
      must((await fixture.count('reasons-1', signal)) === 0, `${reasons}, but the first write happened`);
      return reasons;
    },
  },
  {
    id: 'dynamo-transaction-race',
    claim: 'transactions over the same rows succeed or fail with TransactionConflict, never in part',
    async run(fixture, signal) {
      const writes = [fixture.increment('both-1'), fixture.increment('both-2')];
      const refusals = await Promise.all(
        Array.from({ length: RACERS }, () => refusalOf(() => transact(fixture, writes, signal))),
      );
      const ends = refusals.map((refusal) => endOf(refusal?.error));
      const done = ends.filter((end) => end === 'success').length;
      must(
        ends.every((end) => end === 'success' || end === 'conflict'),
        ends.join(', '),
      );
      const counts = [await fixture.count('both-1', signal), await fixture.count('both-2', signal)];
      const seen = `${done} of ${RACERS} succeeded, the rows count ${counts.join(' and ')}`;
      must(
        counts.every((count) => count === done),
        seen,
      );
      return seen;
    },
  },
  {
    id: 'dynamo-transaction-token',
    claim: 'a transaction that is sent twice with one ClientRequestToken is executed once',
    async run(fixture, signal) {
      const token = randomUUID();
      const writes = [fixture.increment('token')];
      await transact(fixture, writes, signal, token);
      await transact(fixture, writes, signal, token);
      const count = await fixture.count('token', signal);
      must(count === 1, `executed ${count} times`);
      const other = await mustRefuse(
        'the token with another transaction',
        [IdempotentParameterMismatchException.name],
        () => transact(fixture, [fixture.increment('token-2')], signal, token),
      );
      return `executed once; ${other}`;
    },
  },
];

function endOf(error: unknown): string {
  if (error === undefined) return 'success';
  if (!(error instanceof TransactionCanceledException)) return (error as Error).name;
  const codes = (error.CancellationReasons ?? []).map(({ Code }) => Code ?? 'None');
  return codes.every((code) => CONFLICTS.includes(code)) ? 'conflict' : codes.join('+');
}
