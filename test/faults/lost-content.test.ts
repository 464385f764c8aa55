import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Digest } from '../../lib/oci/digest.ts';
import type { FaultRule } from '../support/http-fault-proxy.ts';
import { noiseImage, type Image } from '../support/images.ts';
import { checkContent, checkPublished } from '../support/invariants.ts';
import { until } from '../support/until.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';
import { deleteObject, pullBy, putBack, reportLost, stateOf, stopped } from './project.ts';

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
afterEach(() => faults.upstream.clearFaults());
after(() => faults[Symbol.asyncDispose]());

/** No lease lapses while a busy machine takes its time. */
const UNHURRIED = { leaseSeconds: 30 };

type Part = 'layer' | 'manifest';
const PARTS = ['layer', 'manifest'] as const;
const layerOf = (image: Image): Digest => [...image.blobs.keys()].at(-1)!;
const digestOf = (image: Image, part: Part): Digest => (part === 'layer' ? layerOf(image) : image.root.digest);
const bytesOf = (image: Image, digest: Digest): Uint8Array =>
  image.blobs.get(digest) ?? image.manifests.get(digest)!.bytes;

const registryDown = (): void => void faults.upstream.fault(() => ({ status: 503, body: Buffer.from('{}') }));

describe('content that was lost and written anew, reported lost by somebody who looked before', () => {
  /** Two hear of the loss. One stops between its look at the store and its write, and a pull brings the content back meanwhile. */
  async function lateReport(part: Part, repository: string) {
    const { cache, ...faulty } = await faults.open(UNHURRIED);
    const image = noiseImage({ name: repository });
    const reference = faults.offer(image, repository);
    const digest = digestOf(image, part);
    await cache.pull(reference);
    await deleteObject(faults.bench.stack, digest);
    const { catalog, store } = cache.services;
    const late = stopped(store, 'find', 'after');
    const reporting = reportLost({ catalog, store: late.target }, digest);
    await late.reached;
    await reportLost({ catalog, store }, digest);
    assert.equal((await cache.pull(reference)).outcome, 'pulled');
    late.goOn();
    await reporting;
    return { ...faulty, cache, reference, digest };
  }
  for (const part of PARTS) {
    test(`a ${part} that is in the store is called present`, async () => {
      await using late = await lateReport(part, `aba/${part}`);
      assert.equal(await stateOf(late.cache, late.digest), 'present', 'it is in the store and called absent');
    });
  }

  test('a manifest stays present with the next pull', async () => {
    await using late = await lateReport('manifest', 'aba/healed');
    await late.cache.pull(late.reference);
    assert.equal(await stateOf(late.cache, late.digest), 'present', 'it is still called absent');
  });
});

const ANY_WRITE = { 'x-amz-target': /\.(PutItem|UpdateItem|DeleteItem|BatchWriteItem|TransactWriteItems)$/ };

test('no tag is published over content that is reported lost meanwhile, between whichever two of its writes', async () => {
  await using losing = await faults.open(UNHURRIED);
  await using pulling = await faults.open(UNHURRIED);
  const { services } = pulling.cache;
  let interleavings = 0;
  for (let written = 0; written < 10; written += 1) {
    const image = noiseImage({ name: `race/${written}` });
    const tags = ['v1', 'v2'].map((tag) => faults.offer(image, `race/${written}`, tag));
    const [first = '', second = ''] = tags;
    await pulling.cache.pull(first);
    await deleteObject(faults.bench.stack, layerOf(image));

    const gate = Promise.withResolvers<undefined>();
    const hold = { kind: 'hold', until: gate.promise } as const;
    const rule: FaultRule = { headers: ANY_WRITE, skip: written, times: 1, action: hold };
    losing.dynamo.rules.splice(0, Infinity, rule);
    losing.dynamo.log.length = 0;
    let isReported = false;
    const reporting = reportLost(losing.cache.services, layerOf(image)).finally(() => (isReported = true));
    const isHeld = (): boolean => losing.dynamo.log.some(({ fault }) => fault === 'hold');
    await until(() => isHeld() || isReported);
    if (!isHeld()) break;

    const publish = stopped(services.catalog, 'publish', 'before');
    const pulled = pullBy(services.pull, publish.target, second);
    await Promise.race([publish.reached, pulled]);
    gate.resolve(undefined);
    await reporting;
    publish.goOn();
    await pulled;
    for (const reference of tags) await pulling.cache.pull(reference);
    const content = await checkContent(faults.bench.stack, [...image.blobs.keys(), ...image.manifests.keys()]);
    for (const reference of tags) assert.ok(await checkPublished(services, reference, content));
    interleavings += 1;
  }
  assert.ok(interleavings > 0, 'the loss is written down');
});

describe('content that was lost and put back into the bucket by hand', () => {
  async function restored(part: Part, repository: string) {
    const { cache, ...faulty } = await faults.open({ ...UNHURRIED, attempts: 1 });
    const { stack } = faults.bench;
    const image = noiseImage({ name: repository });
    const reference = faults.offer(image, repository);
    const digest = digestOf(image, part);
    await cache.pull(reference);
    await deleteObject(stack, digest);
    await reportLost(cache.services, digest);
    await putBack(stack, digest, bytesOf(image, digest));
    return { ...faulty, cache, reference, digest };
  }
  for (const part of PARTS) {
    test(`a ${part}: validate --deep finds it, without the registry`, async () => {
      await using back = await restored(part, `restored/validate-${part}`);
      registryDown();
      const { state } = await back.cache.validate(back.reference, { deep: true });
      assert.equal(state, 'complete', `it is ${state}`);
    });

    test(`a ${part}: a pull takes it, without the registry`, async () => {
      await using back = await restored(part, `restored/pull-${part}`);
      registryDown();
      await back.cache.pull(back.reference);
    });
  }

  const calledPresent = async (part: Part): Promise<void> => {
    await using back = await restored(part, `restored/row-${part}`);
    await back.cache.pull(back.reference);
    assert.equal(await stateOf(back.cache, back.digest), 'present', 'it is still called absent');
    assert.equal((await back.cache.pull(back.reference)).outcome, 'hit');
  };
  for (const part of PARTS) test(`a ${part}: a pull with the registry calls it present`, () => calledPresent(part));
});

test('no image is a hit whose config a failed pull of another image found to be lost', async () => {
  await using faulty = await faults.open({ ...UNHURRIED, attempts: 1 });
  const { cache } = faulty;
  const image = noiseImage({ name: 'lost-config' });
  const [one, other] = ['config/one', 'config/other'].map((repository) => faults.offer(image, repository));
  await cache.pull(one!);
  const { config } = JSON.parse(Buffer.from(image.root.bytes).toString()) as { config: { digest: Digest } };
  await deleteObject(faults.bench.stack, config.digest);
  faults.upstream.fault(({ kind }) => (kind === 'blob' ? { status: 503, body: Buffer.from('{}') } : undefined));
  await assert.rejects(cache.pull(other!), /503/);
  const outcome = await cache.pull(one!).then(
    (receipt) => receipt.outcome,
    (error: unknown) => String(error),
  );
  const state = await stateOf(cache, config.digest);
  assert.ok(state === 'present' || outcome !== 'hit', `a hit without its config, whose row says ${state}`);
});
