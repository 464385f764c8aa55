import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { blobKey, blobLeaseName, leaseKey, NOBODY } from '../../lib/table/keys.ts';
import { LeaseLostError } from '../../lib/errors/cache-error.ts';
import { acquire, isLease } from '../../lib/lock/lease.ts';
import { leaseWatch } from '../../lib/lock/heartbeat.ts';
import { digestOf } from '../../lib/oci/digest.ts';
import { forever, tableOn, type DynamoEndpoint, type TableUnderTest } from '../support/table-under-test.ts';
import { leaseFaults } from './lease-faults.ts';
import { DURATION_MS, freshName, take } from './lease-subject.ts';

const HOUR_MS = 3_600_000;

/** What every implementation of leases must do; `make` starts a server of its own for the suite. */
export function leaseSuite(name: string, make: () => Promise<DynamoEndpoint>): void {
  describe(`leases on ${name}`, { timeout: 300_000 }, () => {
    let table: TableUnderTest;
    before(async () => {
      table = await tableOn(await make());
    });
    after(() => table[Symbol.asyncDispose]());
    // Most of the time they wait for a lease to lapse, so they wait side by side.
    describe('kept and handed on', { concurrency: 6 }, () => handingOn(() => table));
    describe('in a crowd', () => crowds(() => table));
    describe('with faults', { concurrency: 6 }, () => leaseFaults(() => table));
  });
}

/** A row as somebody left it who will never come back. */
async function holdByTheDead(table: TableUnderTest, name: string, leaseUntilMs: number): Promise<void> {
  await table.change({
    key: leaseKey(name),
    update: 'SET holder = :h, version = :v, durationMs = :d, leaseUntilMs = :u, generation = :g',
    values: { ':h': 'the dead', ':v': 'last', ':d': DURATION_MS, ':u': leaseUntilMs, ':g': 41 },
  });
}

function handingOn(table: () => TableUnderTest): void {
  test('a free lease is acquired, and its row says by whom', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const beforeMs = Date.now();
    await using lease = await take(reach.leases(DURATION_MS), name);
    const row = await table().row(leaseKey(name));
    assert.equal(lease.generation, 1);
    assert.equal(row?.holder, lease.holder);
    assert.equal(row.generation, 1);
    assert.equal(row.durationMs, DURATION_MS);
    assert.ok((row.leaseUntilMs as number) >= beforeMs + DURATION_MS);
    assert.equal(typeof row.version, 'string');
    assert.equal(lease.signal.aborted, false);
  });

  test('a held lease is refused, with what its row says', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS * 10);
    await using lease = await take(leases, name);
    const watch = leaseWatch();
    for (const how of ['by the write', 'by the look that follows']) {
      const held = await leases.tryAcquire(name, watch, forever);
      assert.ok(!isLease(held), how);
      const row = await table().row(leaseKey(name));
      const { version, leaseUntilMs } = row ?? {};
      assert.deepEqual(held, { holder: lease.holder, version, durationMs: DURATION_MS * 10, leaseUntilMs }, how);
    }
    assert.equal(watch.hasSeen(), true);
  });

  test('the generation only grows: by release, and by taking over', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    for (const generation of [1, 2, 3]) {
      await using lease = await take(leases, name);
      assert.equal(lease.generation, generation);
    }
    assert.equal((await table().row(leaseKey(name)))?.holder, NOBODY);
    await holdByTheDead(table(), name, 0);
    await using lease = await take(leases, name);
    assert.equal(lease.generation, 42);
  });

  test('release is idempotent, and a released lease sends nothing when it is disposed', async () => {
    await using reach = await table().reach();
    const lease = await take(reach.leases(DURATION_MS * 10), freshName());
    await Promise.all([lease.release(), lease.release()]);
    await lease.release();
    await lease[Symbol.asyncDispose]();
    assert.equal(reach.proxy.log.length, 2, 'one request to acquire, one to release');
  });

  test('is taken again by its fence, once; what comes by the older fence is refused', async () => {
    await using reach = await table().reach();
    const leases = reach.leases(DURATION_MS * 10);
    const first = await take(leases, freshName());
    await first.letGo();
    await using second = await leases.retake(first, forever);
    assert.deepEqual([second.name, second.generation], [first.name, 2]);
    assert.notEqual(second.holder, first.holder);
    for (const late of [() => leases.retake(first, forever), () => leases.adopt(first, forever)]) {
      await assert.rejects(late(), LeaseLostError);
    }
    await first.release();
    assert.equal((await table().row(leaseKey(first.name)))?.holder, second.holder);
    await second.release();
    await assert.rejects(leases.retake(second, forever), LeaseLostError);
  });

  test("is taken over when it stood unrenewed for its whole duration by the waiter's clock, and not before", async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    await holdByTheDead(table(), name, Date.now() + HOUR_MS); // its clock went wrong
    let nowMs = 5_000;
    const watch = leaseWatch(() => nowMs);
    assert.ok(!isLease(await leases.tryAcquire(name, watch, forever)));
    nowMs += DURATION_MS - 1;
    assert.ok(!isLease(await leases.tryAcquire(name, watch, forever)), 'one millisecond early');
    nowMs += 1;
    await using lease = await take(leases, name, watch);
    assert.equal(lease.generation, 42);
  });

  test('is not taken over when it was renewed after the last look', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    await holdByTheDead(table(), name, Date.now() + HOUR_MS);
    let nowMs = 0;
    const watch = leaseWatch(() => nowMs);
    assert.ok(!isLease(await leases.tryAcquire(name, watch, forever)));
    nowMs += DURATION_MS;
    await table().change({ key: leaseKey(name), update: 'SET version = :v', values: { ':v': 'it lives' } });
    const held = await leases.tryAcquire(name, watch, forever);
    assert.ok(!isLease(held));
    assert.equal(held.version, 'it lives');
    nowMs += DURATION_MS - 1;
    assert.ok(!isLease(await leases.tryAcquire(name, watch, forever)), 'the new version counts from when it was seen');
    nowMs += 1;
    await using lease = await take(leases, name, watch);
    assert.equal(lease.generation, 42);
  });

  test('is taken over at first sight a minute after its time, and not earlier', async () => {
    await using reach = await table().reach();
    const leases = reach.leases(DURATION_MS);
    const [longDead, justDead] = [freshName(), freshName()];
    await holdByTheDead(table(), longDead, Date.now() - 60_500);
    await holdByTheDead(table(), justDead, Date.now() - 50_000);
    await using lease = await take(leases, longDead);
    assert.equal(lease.generation, 42);
    assert.ok(!isLease(await leases.tryAcquire(justDead, leaseWatch(), forever)));
  });

  test('renewing keeps it for many durations, with a new version each time', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    await using lease = await take(leases, name);
    const waiting = new AbortController();
    const waiter = acquire(leases, name, waiting.signal);
    const versions = new Set<unknown>();
    for (let look = 0; look < 25; look++) {
      const row = await table().row(leaseKey(name));
      assert.equal(row?.holder, lease.holder);
      assert.equal(row.generation, 1);
      versions.add(row.version);
      await sleep(DURATION_MS / 10);
    }
    assert.equal(lease.signal.aborted, false);
    assert.ok(versions.size >= 4, `${versions.size} versions in two and a half durations`);
    waiting.abort(new Error('enough'));
    await assert.rejects(waiter, /enough/);
  });

  test('stopRenewing leaves the row as it is; the lease lapses and another takes it', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    await using lease = await take(leases, name);
    await lease.stopRenewing();
    const before = await table().row(leaseKey(name));
    await sleep(DURATION_MS * 0.7);
    assert.deepEqual(await table().row(leaseKey(name)), before);
    await using next = await acquire(leases, name, AbortSignal.timeout(10 * DURATION_MS));
    assert.equal(next.generation, 2);
    await lease.release();
    assert.equal(
      (await table().row(leaseKey(name)))?.holder,
      next.holder,
      'a late release does nothing to the successor',
    );
  });

  test('markReleased: disposal sends nothing', async () => {
    await using reach = await table().reach();
    const lease = await take(reach.leases(DURATION_MS), freshName());
    lease.markReleased();
    await lease.stopRenewing();
    reach.proxy.log.length = 0;
    await lease[Symbol.asyncDispose]();
    await sleep(DURATION_MS / 2);
    assert.equal(reach.proxy.log.length, 0);
  });

  test('a claim lives on the row of its blob, and leaves the rest of it alone', async () => {
    await using reach = await table().reach();
    const digest = digestOf(Buffer.from(randomUUID()));
    const values = { ':p': 'present', ':n': 7, ':d': new Set(['public']) };
    const update = 'SET #s = :p, size_ = :n ADD domains :d';
    await table().change({ key: blobKey(digest), update, names: { '#s': 'state' }, values });
    const leases = reach.leases(DURATION_MS);
    const lease = await take(leases, blobLeaseName(digest));
    assert.equal(lease.generation, 1);
    assert.ok(!isLease(await leases.tryAcquire(blobLeaseName(digest), leaseWatch(), forever)));
    await lease.release();
    const row = await table().row(blobKey(digest));
    assert.deepEqual([row?.state, row?.size_, row?.domains], ['present', 7, new Set(['public'])]);
  });

  test("a waiter that is stopped throws its signal's reason at once, and leaves the lease alone", async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS);
    await using lease = await take(leases, name);
    const reason = new Error('the caller went away');
    const stop = new AbortController();
    setTimeout(() => stop.abort(reason), 150);
    await assert.rejects(acquire(leases, name, stop.signal), reason);
    await assert.rejects(acquire(leases, name, AbortSignal.abort(reason)), reason);
    assert.equal((await table().row(leaseKey(name)))?.holder, lease.holder);
  });

  test('a process that gave its lease back ends by itself', async () => {
    const { server } = table();
    const script = fileURLToPath(new URL('hold-lease-and-exit.ts', import.meta.url));
    const keys = [server.endpoint, server.region, server.accessKeyId, server.secretAccessKey];
    const run = promisify(execFile)(process.execPath, [script, ...keys, table().table, freshName()], {
      timeout: 30_000,
    });
    assert.equal((await run).stdout, 'generation 1\n');
  });
}

function crowds(table: () => TableUnderTest): void {
  test('of 32 racers exactly one wins', async () => {
    await using reach = await table().reach();
    const leases = reach.leases(DURATION_MS * 10);
    for (const round of [1, 2, 3]) {
      const name = freshName();
      const racers = Array.from({ length: 32 }, () => leases.tryAcquire(name, leaseWatch(), forever));
      const outcomes = await Promise.all(racers);
      const won = outcomes.filter(isLease);
      assert.equal(won.length, 1, `round ${round}`);
      assert.deepEqual(
        new Set(outcomes.map(({ holder }) => holder)),
        new Set([won[0]!.holder]),
        'the others were told who has it',
      );
      await won[0]!.release();
    }
  });

  test('of 32 racers for a dead lease exactly one wins', async () => {
    await using reach = await table().reach();
    const name = freshName();
    await holdByTheDead(table(), name, 0);
    const leases = reach.leases(DURATION_MS * 10);
    const racers = Array.from({ length: 32 }, () => leases.tryAcquire(name, leaseWatch(), forever));
    const won = (await Promise.all(racers)).filter(isLease);
    assert.deepEqual(
      won.map(({ generation }) => generation),
      [42],
    );
    await won[0]!.release();
  });

  test('50 waiters all get it, one after the other', async () => {
    await using reach = await table().reach();
    const name = freshName();
    const leases = reach.leases(DURATION_MS * 10);
    let inside = 0;
    const generations: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        await using lease = await acquire(leases, name, AbortSignal.timeout(120_000));
        inside += 1;
        assert.equal(inside, 1, 'nobody else holds it');
        generations.push(lease.generation);
        await sleep(2);
        inside -= 1;
      }),
    );
    assert.deepEqual(
      generations,
      Array.from({ length: 50 }, (_, i) => i + 1),
    );
  });
}
