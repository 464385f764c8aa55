import assert from 'node:assert/strict';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { blobLeaseName, leaseKey, NOBODY } from '../../lib/table/keys.ts';
import { CatalogError, LeaseLostError } from '../../lib/errors/cache-error.ts';
import { leaseWatch } from '../../lib/lock/heartbeat.ts';
import { isLease } from '../../lib/lock/lease.ts';
import { digestOf } from '../../lib/oci/digest.ts';
import { answerWith, dynamoError, forever, onDynamo, type TableUnderTest } from '../support/table-under-test.ts';
import { until } from '../support/until.ts';
import { DURATION_MS, freshName, take } from './lease-subject.ts';

/** What leases must do when requests and answers are late, lost or refused. */
export function leaseFaults(table: () => TableUnderTest): void {
  test('a lost answer to the acquisition is no defeat', async () => {
    await using reach = await table().reach();
    const name = freshName();
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
    await using lease = await take(reach.leases(DURATION_MS * 10), name);
    assert.equal(lease.generation, 1);
    assert.equal((await table().row(leaseKey(name)))?.holder, lease.holder);
    assert.equal(reach.proxy.log.length, 2, 'the retry was refused by our own row');
  });

  const takers = [
    { how: 'acquired', nameOf: freshName },
    { how: 'claimed', nameOf: () => blobLeaseName(digestOf(Buffer.from(randomUUID()))) },
  ];
  for (const { how, nameOf } of takers) {
    test(`that is ${how} while its caller is stopped is given back before the caller hears of it`, async () => {
      await using reach = await table().reach();
      const [name, answer] = [nameOf(), Promise.withResolvers<undefined>()];
      // The write happened, its answer is lost, and the second try hangs.
      reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
      reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'hold', until: answer.promise }, Infinity));
      const [stop, reason] = [new AbortController(), new Error('the caller went away')];
      const trying = reach.leases(60_000).tryAcquire(name, leaseWatch(), stop.signal);
      await until(() => reach.proxy.log.some(({ fault }) => fault === 'hold'));
      assert.notEqual((await table().row(leaseKey(name)))?.holder, NOBODY);
      stop.abort(reason);
      await assert.rejects(trying, reason);
      answer.resolve(undefined);
      assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY);
      await using next = await take(reach.leases(DURATION_MS), name);
      assert.equal(next.generation, 2);
    });
  }

  test('whose answer comes after its caller was stopped is given back, too', async () => {
    await using reach = await table().reach();
    const [name, answer] = [freshName(), Promise.withResolvers<undefined>()];
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'hold', until: answer.promise }));
    const [stop, reason] = [new AbortController(), new Error('time is over')];
    const trying = reach.leases(60_000).tryAcquire(name, leaseWatch(), stop.signal);
    await until(() => reach.proxy.log.length === 1);
    stop.abort(reason);
    answer.resolve(undefined);
    await assert.rejects(trying, reason);
    assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY);
  });

  test('whose answers are all lost is given back', async () => {
    await using reach = await table().reach();
    const name = freshName();
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }, Infinity));
    await assert.rejects(reach.leases(60_000).tryAcquire(name, leaseWatch(), forever), CatalogError);
    assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY);
  });

  test('of somebody else is left alone by a caller that was stopped', async () => {
    await using reach = await table().reach();
    const [name, answer] = [freshName(), Promise.withResolvers<undefined>()];
    await using lease = await take(reach.leases(60_000), name);
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'hold', until: answer.promise }));
    const [stop, reason] = [new AbortController(), new Error('time is over')];
    const trying = reach.leases(60_000).tryAcquire(name, leaseWatch(), stop.signal);
    await until(() => reach.proxy.log.some(({ fault }) => fault === 'hold'));
    stop.abort(reason);
    await assert.rejects(trying, reason);
    answer.resolve(undefined);
    assert.equal((await table().row(leaseKey(name)))?.holder, lease.holder);
  });

  test('a lost answer to taking it again is no loss', async () => {
    await using reach = await table().reach();
    const first = await take(reach.leases(60_000), freshName());
    await first.letGo();
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
    await using again = await reach.leases(60_000).retake(first, forever);
    assert.equal((await table().row(leaseKey(first.name)))?.holder, again.holder);
    assert.equal(again.generation, 2);
  });

  test('a lost answer to a renewal is no loss', async () => {
    await using reach = await table().reach();
    const lease = await take(reach.leases(DURATION_MS), freshName());
    await using _held = lease;
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }, 2));
    await sleep(DURATION_MS * 1.8);
    assert.equal(lease.signal.aborted, false);
  });

  test('a lost answer to the release is no failure', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const lease = await take(reach.leases(DURATION_MS), name);
    await lease.stopRenewing();
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'lose-answer' }));
    await lease.release();
    assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY);
  });

  test('a renewal that hangs does not cost the lease', async () => {
    await using reach = await table().reach();
    const lease = await take(reach.leases(DURATION_MS), freshName());
    await using _held = lease;
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'hold', until: sleep(DURATION_MS * 3) }));
    await sleep(DURATION_MS * 2);
    assert.equal(lease.signal.aborted, false);
    assert.equal(reach.proxy.log.filter(({ fault }) => fault === 'hold').length, 1);
  });

  test('that cannot be renewed for its duration is lost, although nobody took it', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const lease = await take(reach.leases(DURATION_MS), name);
    await using _held = lease;
    const takenMs = performance.now();
    reach.proxy.rules.push(onDynamo('UpdateItem', { kind: 'reset' }, Infinity));
    await once(lease.signal, 'abort');
    const afterMs = performance.now() - takenMs;
    assert.ok(lease.signal.reason instanceof LeaseLostError);
    assert.match(lease.signal.reason.message, /could not be renewed for 1500 ms/);
    assert.ok(lease.signal.reason.cause !== undefined, 'it says what stood in the way');
    assert.ok(afterMs > DURATION_MS * 0.8, `lost after ${afterMs} ms`);
    assert.ok(afterMs < DURATION_MS * 2.5, `lost after ${afterMs} ms`);
    assert.equal((await table().row(leaseKey(name)))?.holder, lease.holder);
    reach.proxy.rules.length = 0;
    await lease.release();
    assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY, 'still its own: it frees it for the next');
  });

  test('that was taken over is lost at the next renewal, and its end does nothing to the successor', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    const lease = await take(leases, name);
    const past = { ':past': Date.now() - 120_000 };
    await table().change({ key: leaseKey(name), update: 'SET leaseUntilMs = :past', values: past });
    const next = await take(leases, name);
    assert.equal(next.generation, 2);
    await once(lease.signal, 'abort');
    assert.ok(lease.signal.reason instanceof LeaseLostError);
    assert.match(lease.signal.reason.message, /another process holds it/);
    await lease.release();
    await lease[Symbol.asyncDispose]();
    const row = await table().row(leaseKey(name));
    assert.deepEqual([row?.holder, row?.generation], [next.holder, 2]);
    assert.equal(next.signal.aborted, false);
    await next.release();
  });

  // A publish is a transaction over the lock's row; single writes that meet it are refused, and the SDK does not try them again.
  test('acquiring, renewing and releasing survive TransactionConflictException', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const conflict = dynamoError('TransactionConflictException');
    reach.proxy.rules.push(onDynamo('UpdateItem', conflict, 2));
    const lease = await take(reach.leases(DURATION_MS), name);
    reach.proxy.rules.push(onDynamo('UpdateItem', conflict, 2));
    await sleep(DURATION_MS * 1.5);
    assert.equal(lease.signal.aborted, false);
    await lease.stopRenewing();
    reach.proxy.rules.push(onDynamo('UpdateItem', conflict, 2));
    await lease.release();
    assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY);
    assert.equal(reach.proxy.log.filter(({ fault }) => fault === 'answer').length, 6);
  });

  test('a waiter whose look fails says so, and does not take the lease for free or held', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS * 10);
    await using lease = await take(leases, name);
    const watch = leaseWatch();
    assert.ok(!isLease(await leases.tryAcquire(name, watch, forever)));
    reach.proxy.rules.push(onDynamo('GetItem', dynamoError('ResourceNotFoundException')));
    await assert.rejects(leases.tryAcquire(name, watch, forever), (error: unknown) => {
      assert.ok(error instanceof CatalogError);
      assert.equal(error.retryable, false);
      return true;
    });
    assert.equal((await table().row(leaseKey(name)))?.holder, lease.holder);
  });

  test('a refusal without a row is an error, not a lease', async () => {
    await using reach = await table().reach();
    reach.proxy.rules.push(onDynamo('UpdateItem', dynamoError('ConditionalCheckFailedException')));
    await assert.rejects(reach.leases(DURATION_MS).tryAcquire(freshName(), leaseWatch(), forever), CatalogError);
  });

  test('disposal does not fail the work when the table is gone', async () => {
    await using reach = await table().reach();
    const lease = await take(reach.leases(DURATION_MS), freshName());
    reach.proxy.rules.push(onDynamo('UpdateItem', answerWith({ __type: 'AccessDeniedException' }, 400), Infinity));
    await assert.rejects(lease.release(), CatalogError);
    await lease[Symbol.asyncDispose]();
  });
}
