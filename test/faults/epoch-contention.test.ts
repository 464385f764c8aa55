import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { noiseImage } from '../support/images.ts';
import { startFaultBench, type FaultBench } from './fault-bench.ts';
import { deleteObject, readyToPublish, reportLost } from './project.ts';

let faults: FaultBench;
before(async () => {
  faults = await startFaultBench();
});
after(() => faults[Symbol.asyncDispose]());

describe('publishes of different images at once, where each transaction holds its items', () => {
  for (const { hold, losses } of [
    { hold: 40, losses: 0 },
    { hold: 100, losses: 10 },
  ]) {
    test(`100 all succeed beside ${losses} losses, at ${hold} ms`, async () => {
      await using faulty = await faults.open({ leaseSeconds: 60 });
      const { cache, dynamo } = faulty;
      const image = noiseImage({
        name: `contention-${hold}`,
        layerBytes: Array.from({ length: 10 }, (_, i) => 100 + i),
      });
      const reference = faults.offer(image, `contention/lost-${hold}`);
      await cache.pull(reference);
      const lost = [...image.blobs.keys()].slice(0, losses);
      for (const digest of lost) await deleteObject(faults.bench.stack, digest);
      await using ready = await readyToPublish(cache, `registry.example.test/contention/${hold}`, 100);
      await dynamo.misbehave({ conflicts: { hold } });
      try {
        const [, ...reported] = await Promise.all([
          ready.publish(),
          ...lost.map((digest) => reportLost(cache.services, digest)),
        ]);
        assert.deepEqual(
          reported,
          lost.map(() => true),
        );
      } finally {
        await dynamo.misbehave({});
      }
    });
  }
});
