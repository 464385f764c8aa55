import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Algorithm } from '../../../lib/oci/digest.ts';
import { resumeHash } from '../../../lib/store/hash-state.ts';
import { IngestDigest, ResumedDigest } from '../../../lib/store/ingest-digest.ts';

const PART = 1_000;
const SIZE = 10 * PART;
const bytes = randomBytes(SIZE);
const ALGORITHMS = ['sha256', 'sha512'] as const;
const wholeBy = (algorithm: Algorithm): string => createHash(algorithm).update(bytes).digest('hex');
const whole = wholeBy('sha256');

/** The states after each of ten parts, which take the given times; the last time goes for all that follow. */
const statesOf = (...partMs: number[]) => statesBy('sha256', ...partMs);

async function statesBy(
  algorithm: Algorithm,
  ...partMs: number[]
): Promise<{ states: (string | undefined)[]; digest: string }> {
  let nowMs = 5;
  const digest = new IngestDigest({ algorithm, size: SIZE, resumableAboveMs: 30_000, nowMs: () => nowMs });
  const states: (string | undefined)[] = [];
  for (let part = 0; part < SIZE / PART; part++) {
    const piece = bytes.subarray(part * PART, (part + 1) * PART);
    digest.update(piece.subarray(0, 1));
    nowMs += partMs[Math.min(part, partMs.length - 1)]!;
    digest.update(piece.subarray(1));
    states.push(await digest.endPart(piece));
  }
  return { states, digest: digest.digest() };
}

const known = (states: readonly (string | undefined)[]): number => states.filter((state) => state !== undefined).length;

test('content that comes fast has no states, whatever becomes of it later', async () => {
  const { states, digest } = await statesOf(3_000, 60_000);
  assert.equal(known(states), 0);
  assert.equal(digest, whole);
});

test('slow content has a state after each part while its rest would take longer than the limit', async () => {
  const { states, digest } = await statesOf(10_000);
  // After part 7 the other three would take just 30 s.
  assert.deepEqual(
    states.map((state) => state !== undefined),
    [...Array<boolean>(7).fill(true), false, false, false],
  );
  assert.equal(digest, whole);
});

test('content that proves fast after a slow start has no more states, however slow it becomes then', async () => {
  const { states } = await statesOf(4_000, 1_000, 1_000, 60_000);
  assert.equal(known(states), 1);
});

for (const algorithm of ALGORITHMS) {
  test(`each state of ${algorithm} goes on to the digest of the whole`, async () => {
    const { states, digest: first } = await statesBy(algorithm, 10_000);
    assert.equal(first, wholeBy(algorithm));
    assert.equal(known(states), 7);
    for (const [part, state] of states.entries()) {
      if (state === undefined) continue;
      const hash = await resumeHash(algorithm, state);
      assert.ok(hash !== undefined);
      const digest = new ResumedDigest(hash);
      assert.equal(await digest.endPart(), state);
      digest.update(bytes.subarray((part + 1) * PART));
      assert.equal(digest.digest(), wholeBy(algorithm));
    }
  });

  test(`a state of another version or algorithm than ${algorithm}, cut off, or none is not gone on with`, async () => {
    const { states } = await statesBy(algorithm, 10_000);
    const foreign = await statesBy(algorithm === 'sha256' ? 'sha512' : 'sha256', 10_000);
    const state = Buffer.from(states[0]!, 'base64');
    const other = Buffer.from(state);
    other[3]! ^= 0x80;
    const foreignState = Buffer.from(foreign.states[0]!, 'base64');
    for (const wrong of [
      other,
      state.subarray(1),
      Buffer.concat([state, Buffer.of(0)]),
      Buffer.alloc(0),
      foreignState,
    ]) {
      assert.equal(await resumeHash(algorithm, wrong.toString('base64')), undefined);
    }
  });
}
