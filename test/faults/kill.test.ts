import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Receipt } from '../../lib/pull/receipt.ts';
import { openCache, startBench, type Bench, type TestCache } from '../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../support/http-fault-proxy.ts';
import { multiArchImage, noiseLayer, upstreamImage } from '../support/images.ts';
import { checkContent, checkPublished } from '../support/invariants.ts';
import { startPullingProcess, type PullingProcess } from '../support/pulling-process.ts';
import { randomOf } from '../support/random.ts';
import { startUpstream, type TestUpstream } from '../support/upstream/upstream.ts';

/*
 * A pulling process dies by SIGKILL at a random moment: after a random time, or at a random request to S3 or DynamoDB, which then arrives after the death
 * of its sender. Whatever the moment, the invariants hold, and the next pull completes. KILL_SEEDS says how many; KILL_SEED repeats one.
 */
const SEEDS = Number(process.env.KILL_SEEDS ?? 2);
const FIRST_SEED = Number(process.env.KILL_SEED ?? Date.now() % 1_000_000);
const COUNT = process.env.KILL_SEED === undefined ? SEEDS : 1;
const REGISTRY = 'registry.example.test';
const PART = 5 * 1024 * 1024;

let bench: Bench;
let upstream: TestUpstream;
let cache: TestCache;
let s3: FaultProxy;
let dynamo: FaultProxy;
/** Goes through the proxies; the others do not. */
let victims: TestCache;
let next: Promise<PullingProcess>;
/** Of one whole pull, measured without a kill. */
let whole: { durationMs: number; s3: number; dynamo: number };

const image = (seed: number) =>
  multiArchImage({
    name: `kill-${seed}`,
    attestations: true,
    layerBytes: [20_000, PART + 300_000],
    sharedLayers: [noiseLayer(2 * PART + 1, `kill-${seed}/shared`)],
  });

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  s3 = await bench.use(startFaultProxy(bench.stack.s3Endpoint));
  dynamo = await bench.use(startFaultProxy(bench.stack.dynamoEndpoint));
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none', public: true } };
  const limits = { leaseSeconds: 10, partBytes: PART, parallelBlobs: 2 };
  cache = await bench.use(openCache(bench.stack, { registries, limits }));
  const endpoints = { s3Endpoint: s3.endpoint, dynamoEndpoint: dynamo.endpoint };
  const watched = await bench.use(openCache(bench.stack, { registries, limits, ...endpoints }));
  // A waiter goes by the lease of the dead: only theirs are short.
  victims = await bench.use(
    openCache(bench.stack, { registries, limits: { ...limits, leaseSeconds: 1 }, ...endpoints }),
  );
  await using measured = await startPullingProcess(watched.environment);
  upstream.addImage('kill/measured', upstreamImage(image(-1), 'v1'));
  const [receipt] = await measured.pull({ reference: `${REGISTRY}/kill/measured:v1` });
  assert.ok(receipt !== undefined && receipt.error === undefined && receipt.outcome === 'pulled');
  whole = { durationMs: receipt.durationMs, s3: s3.log.length, dynamo: dynamo.log.length };
  next = startPullingProcess(victims.environment);
});
after(async () => {
  await (await next)[Symbol.asyncDispose]();
  await bench[Symbol.asyncDispose]();
});

for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
  test(`killed at a random moment, seed ${seed}`, { timeout: 300_000 }, async () => {
    const random = randomOf(seed);
    const reference = `${REGISTRY}/kill/seed-${seed}:v1`;
    const expected = image(seed);
    const all = [...expected.blobs.keys(), ...expected.manifests.keys()];
    upstream.addImage(`kill/seed-${seed}`, upstreamImage(expected, 'v1'));
    upstream.requests.length = 0;

    const victim = await next;
    const moment = await killAt(victim, reference, random);
    next = startPullingProcess(victims.environment);

    const content = await checkContent(bench.stack, all);
    const published = await checkPublished(cache.services, reference, content);

    const receipt: Receipt = await cache.pull(reference);
    assert.equal(receipt.outcome, published ? 'hit' : 'pulled', moment);
    assert.equal(receipt.digest, expected.root.digest);
    const healed = await checkContent(bench.stack, all);
    assert.ok(await checkPublished(cache.services, reference, healed));
    for (const digest of all) assert.ok(healed.has(digest));
    // A blob that was whole before the kill is not fetched again; one that was under way is, once.
    for (const digest of expected.blobs.keys()) {
      const gets = upstream.count({ kind: 'blob', method: 'GET', repository: `kill/seed-${seed}`, reference: digest });
      assert.ok(gets >= 1 && gets <= 2, `${digest} was fetched ${gets} times (${moment})`);
      if (content.has(digest)) assert.equal(gets, 1, `${digest} was in the store and fetched again (${moment})`);
    }
    assert.equal((await cache.validate(reference, { deep: true })).state, 'complete');
    assert.equal((await cache.pull(reference)).outcome, 'hit');
  });
}

/** Lets the process pull, and kills it. Says when, for the message of a failure. */
async function killAt(victim: PullingProcess, reference: string, random: () => number): Promise<string> {
  const [proxy, name, requests] =
    random() < 0.5 ? ([s3, 'S3', whole.s3] as const) : ([dynamo, 'DynamoDB', whole.dynamo] as const);
  if (random() < 0.4) {
    const afterMs = random() * whole.durationMs;
    const pulling = victim.pull({ reference });
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await victim.kill();
    await pulling;
    return `after ${Math.round(afterMs)} ms`;
  }
  // This request and all later ones are held until their sender is dead; the first of them then arrives all the same, the others are cut.
  const request = Math.floor(random() * requests);
  const dead = Promise.withResolvers<undefined>();
  const loggedBefore = proxy.log.length;
  proxy.rules.push({ skip: request, times: Infinity, action: { kind: 'hold', until: dead.promise } });
  const pulling = victim.pull({ reference });
  const ended = pulling.then(() => true);
  while (proxy.log.length - loggedBefore <= request && !(await Promise.race([ended, pause(5)])));
  await victim.kill();
  dead.resolve(undefined);
  await pulling;
  proxy.rules.length = 0;
  while (proxy.log.some((entry) => entry.endedMs === undefined)) await pause(5);
  return `at request ${request} of ${requests} to ${name}`;
}

const pause = (ms: number): Promise<false> => new Promise((resolve) => setTimeout(() => resolve(false), ms));
