import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { CopyAnswer } from '../../../lib/jobs/tasks.ts';
import { noiseImage } from '../../support/images.ts';
import { startWorkflowBench, type WorkflowBench } from '../../integration/jobs/workflow-bench.ts';

const PART = 5 * 1024 * 1024;
/** At the pace below its rest takes longer than 30 s: worth going on with. */
const LAYER = 12 * PART + 1;
const SLOW_GETS = 2;

let bench: WorkflowBench;
before(async () => {
  bench = await startWorkflowBench();
});
after(() => bench[Symbol.asyncDispose]());

test('a blob that outlives two invocations of copy goes on in the next, where the one before stopped', async () => {
  const reference = bench.pull.offer(noiseImage({ name: 'outlives', layerBytes: [LAYER] }), 'team/outlives');
  const ranges: (string | undefined)[] = [];
  bench.pull.upstream.fault(({ kind, method, headers }, { body }) => {
    const isLayer = kind === 'blob' && method === 'GET' && (headers.range !== undefined || body.byteLength === LAYER);
    if (!isLayer) return undefined;
    ranges.push(headers.range);
    // About 3 s for each part.
    return ranges.length <= SLOW_GETS ? { chunkDelayMs: 38 } : undefined;
  });
  const answers: CopyAnswer[] = [];
  bench.meddling.after = (name, _, answer) => {
    if (name === 'copy') answers.push(answer as CopyAnswer);
    return undefined;
  };
  bench.meddling.taskMs = (name) => (name === 'copy' && answers.length < SLOW_GETS ? 8_000 : 60_000);

  const receipt = await bench.succeeds(reference);
  assert.deepEqual(
    answers.map(({ outcome, idle }) => [outcome, idle]),
    [...Array.from({ length: SLOW_GETS }, () => ['partial', 0]), ['done', 0]],
    'what is kept of a blob is progress',
  );
  const offsets = ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? 'bytes=0-')?.[1]));
  assert.equal(offsets.length, SLOW_GETS + 1);
  for (const [index, offset] of offsets.entries()) {
    assert.equal(offset % PART, 0);
    assert.ok(index === 0 ? offset === 0 : offset > (offsets[index - 1] ?? 0), `asked from ${offsets.join(', ')}`);
  }
  assert.equal(receipt.bytes.copied, receipt.bytes.total);
});
