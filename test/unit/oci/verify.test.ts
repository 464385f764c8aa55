import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { digestOf } from '../../../lib/oci/digest.ts';
import { drainVerified, readVerified, verify } from '../../../lib/oci/verify.ts';

// eslint-disable-next-line @typescript-eslint/require-await -- an async source of what is in memory
async function* inChunks(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
const describeBytes = (bytes: Uint8Array) => ({ digest: digestOf(bytes), size: bytes.byteLength });
const chunks = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });

test('the right bytes pass, however they are cut', async () => {
  await fc.assert(
    fc.asyncProperty(chunks, async (cut) => {
      const bytes = Buffer.concat(cut);
      assert.deepEqual(Buffer.from(await readVerified(inChunks(cut), describeBytes(bytes), 1_000)), bytes);
      await drainVerified(inChunks(cut), describeBytes(bytes));
    }),
  );
});

test('one flipped bit, one byte more or one less is told', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 60 }), fc.nat(), async (bytes, at) => {
      const expected = describeBytes(bytes);
      const flipped = Uint8Array.from(bytes);
      flipped[at % bytes.length]! ^= 1 << (at % 8);
      const mismatch = { name: 'ContentMismatchError', retryable: true };
      await assert.rejects(drainVerified(inChunks([flipped]), expected), {
        ...mismatch,
        message: /the bytes have digest sha256:/,
      });
      await assert.rejects(drainVerified(inChunks([bytes.subarray(1)]), expected), {
        ...mismatch,
        message: /bytes arrived/,
      });
      await assert.rejects(drainVerified(inChunks([bytes, Buffer.of(0)]), expected), {
        ...mismatch,
        message: /more than/,
      });
    }),
  );
});

test('the byte too many is not passed on, and the source is told to stop', async () => {
  let stopped = false;
  // eslint-disable-next-line @typescript-eslint/require-await -- an async source of what is in memory
  const source = async function* () {
    try {
      for (;;) yield Buffer.from('abc');
    } finally {
      stopped = true;
    }
  };
  let passed = 0;
  const reading = async (): Promise<void> => {
    for await (const chunk of verify(source(), describeBytes(Buffer.from('abcab')))) passed += chunk.byteLength;
  };
  await assert.rejects(reading(), { name: 'ContentMismatchError' });
  assert.equal(passed, 3);
  assert.ok(stopped);
});

test('what is too large for memory is not even opened', async () => {
  let opened = false;
  // eslint-disable-next-line @typescript-eslint/require-await -- an async source of what is in memory
  const source = (async function* () {
    opened = true;
    yield Buffer.from('abc');
  })();
  await assert.rejects(readVerified(source, describeBytes(Buffer.from('abc')), 2), /above the limit of 2/);
  assert.equal(opened, false);
});
