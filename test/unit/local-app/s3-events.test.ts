import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { startS3Events } from '../../../infra/local/app/s3-events.ts';
import { deletionsFile, recordDeletion } from '../../../infra/local/s3/deletions.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'entrepot-s3-events-'));
  mock.timers.enable({ apis: ['setInterval'] });
});
afterEach(() => {
  mock.timers.reset();
  rmSync(root, { recursive: true, force: true });
});

interface Put {
  readonly source: string;
  readonly 'detail-type': string;
  readonly detail: { readonly bucket: { readonly name: string }; readonly object: { readonly key: string } };
}

function watching(): { readonly keys: () => string[]; readonly puts: Put[]; readonly stop: () => void } {
  const puts: Put[] = [];
  const put = (event: object): void => void puts.push(event as Put);
  const events = startS3Events({ root, region: 'us-east-1', accountId: '000000000000', put });
  return { puts, stop: () => events[Symbol.dispose](), keys: () => puts.map(({ detail }) => detail.object.key) };
}

test('each deletion from now on is one event of S3', () => {
  recordDeletion(root, 'bucket', 'before');
  const { puts, keys, stop } = watching();
  mock.timers.tick(500);
  recordDeletion(root, 'bucket', 'blobs/sha256/a');
  recordDeletion(root, 'bucket', 'ü\n"b"');
  mock.timers.tick(500);
  mock.timers.tick(500);
  assert.deepEqual(keys(), ['blobs/sha256/a', 'ü\n"b"']);
  const [first] = puts;
  assert.deepEqual(
    [first?.source, first?.['detail-type'], first?.detail.bucket.name],
    ['aws.s3', 'Object Deleted', 'bucket'],
  );
  stop();
  recordDeletion(root, 'bucket', 'later');
  mock.timers.tick(5_000);
  assert.equal(puts.length, 2);
});

test('before the first deletion there is no file; half a line waits for its other half', () => {
  const { keys } = watching();
  mock.timers.tick(500);
  const line = JSON.stringify({ bucket: 'bucket', key: 'k', time: new Date().toISOString() });
  appendFileSync(deletionsFile(root), line.slice(0, 20));
  mock.timers.tick(500);
  assert.deepEqual(keys(), []);
  appendFileSync(deletionsFile(root), `${line.slice(20)}\n`);
  mock.timers.tick(500);
  assert.deepEqual(keys(), ['k']);
});

test('a line that was never finished costs itself and the one that follows it, and nothing later', () => {
  const { keys } = watching();
  recordDeletion(root, 'bucket', 'first');
  appendFileSync(deletionsFile(root), '{"bucket":"bucket","key":"hal');
  mock.timers.tick(500);
  for (const key of ['second', 'third']) recordDeletion(root, 'bucket', key);
  mock.timers.tick(500);
  assert.deepEqual(keys(), ['first', 'third']);
});

test('a record that grew too large is moved aside, and nothing of it is lost or comes twice', () => {
  const { keys } = watching();
  const all = Array.from({ length: 30 }, (_, at) => `${at}-${'x'.repeat(100_000)}`);
  for (const [at, key] of all.entries()) {
    recordDeletion(root, 'bucket', key);
    if (at % 4 === 3) mock.timers.tick(500);
  }
  mock.timers.tick(500);
  assert.deepEqual(keys(), all);
});
