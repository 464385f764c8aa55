import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CredentialsError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import { countedUpstreams } from '../../../lib/telemetry/counted-upstreams.ts';

const { repository } = parseReference('registry.example.test/team/app:v1');

const counting = () => {
  const counted: [string, number][] = [];
  return { counted, metrics: { add: (name: string, value: number) => void counted.push([name, value]) } };
};
const upstream = (total: number, rateLimited: number, credentialsRefused: number): Upstream =>
  ({ requests: { total }, refusals: { rateLimited, credentialsRefused } }) as Upstream;

test('sums up what every opened upstream sent and was refused', async () => {
  const { counted, metrics } = counting();
  const opened = [upstream(3, 1, 0), upstream(4, 0, 2)];
  const upstreams = countedUpstreams({ open: () => Promise.resolve(opened.shift()!) }, metrics);
  for (let i = 0; i < 2; i++) await upstreams.open(repository);
  upstreams.report();
  assert.deepEqual(counted, [
    ['RegistryRequests', 7],
    ['RateLimited', 1],
    ['CredentialsRejected', 2],
  ]);
});

test('credentials that cannot be had count as rejected; what may pass, and silence, as nothing', async () => {
  const { counted, metrics } = counting();
  const failures = [new CredentialsError('no such secret'), new UpstreamUnavailableError('read credentials', 'down')];
  const upstreams = countedUpstreams({ open: () => Promise.reject(failures.shift()!) }, metrics);
  await assert.rejects(upstreams.open(repository), CredentialsError);
  await assert.rejects(upstreams.open(repository), UpstreamUnavailableError);
  upstreams.report();
  assert.deepEqual(counted, [['CredentialsRejected', 1]]);
});
