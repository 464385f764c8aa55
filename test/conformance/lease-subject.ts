import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { leaseWatch } from '../../lib/lock/heartbeat.ts';
import { isLease, type Lease, type Leases, type LeaseWatch } from '../../lib/lock/lease.ts';
import { forever } from '../support/table-under-test.ts';

/** Long enough for a busy machine, short enough to wait for. */
export const DURATION_MS = 1_500;

/** A lease name that no other test uses. */
export const freshName = (): string => `pull:registry.example.test/${randomUUID()}:v1`;

/** The lease, which must be free. */
export async function take(leases: Leases, name: string, watch: LeaseWatch = leaseWatch()): Promise<Lease> {
  const outcome = await leases.tryAcquire(name, watch, forever);
  assert.ok(isLease(outcome), `${name} is held by ${JSON.stringify(outcome)}`);
  return outcome;
}
