import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { findHit } from '../../../lib/pull/hit.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { openCache } from '../../support/cache.ts';
import { multiArchImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

test('what "allow" does not match is refused, cached or not, without a request', async () => {
  const reference = bench.offer(multiArchImage({ name: 'allowed once' }), 'team/app');
  await bench.succeeds(reference);
  bench.upstream.requests.length = 0;
  const registries = { [REGISTRY]: { endpoint: bench.upstream.origin, credentials: 'none', allow: ['other/**'] } };
  const narrower = await bench.use(openCache(bench.stack, { registries }));
  const refused = { name: 'UnknownNameError', code: 'NAME_UNKNOWN', message: /is not allowed: .*\["other\/\*\*"\]/ };
  await assert.rejects(narrower.pull(reference), refused);
  await assert.rejects(narrower.pull(reference, { alwaysPull: true }), refused);
  const elsewhere = await bench.use(openCache(bench.stack, { registries: { 'other.example.test': {} } }));
  await assert.rejects(elsewhere.pull(reference), { code: 'NAME_UNKNOWN', message: /is not configured/ });
  assert.equal(bench.upstream.requests.length, 0);
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
});

test('a hit is found without anything else: not for alwaysPull, not where something is missing, not where it is refused', async () => {
  const reference = bench.offer(multiArchImage({ name: 'hit alone' }), 'team/hit');
  const { catalog, pull } = bench.cache.services;
  const deps = { catalog, defaultPlatforms: pull.defaultPlatforms, requireAllowed: pull.requireAllowed };
  const request = { reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true };
  assert.equal(await findHit(deps, request, forever), undefined);
  const pulled = await bench.succeeds(reference);
  bench.upstream.requests.length = 0;
  const hit = await findHit(deps, request, forever);
  assert.deepEqual([hit?.outcome, hit?.digest, hit?.blobs.present], ['hit', pulled.digest, pulled.blobs.total]);
  assert.equal(await findHit(deps, { ...request, alwaysPull: true }, forever), undefined);
  const refused = { ...request, reference: parseReference('registry.elsewhere.test/team/hit:v1') };
  await assert.rejects(findHit(deps, refused, forever), { code: 'NAME_UNKNOWN' });
  assert.equal(bench.upstream.requests.length, 0);
});
