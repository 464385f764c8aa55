import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pullProgress } from '../../../lib/cli/progress.ts';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { digestOf } from '../../../lib/oci/digest.ts';

const NAME = 'registry.example.test/team/with-a-long-name/app:v1.2.3';
const MIB = 1024 * 1024;

const blobOf = (text: string, size: number): Descriptor => ({
  mediaType: 'application/octet-stream',
  digest: digestOf(Buffer.from(text)),
  size,
});

function benchOf() {
  const notes: string[] = [];
  const clock = { ms: 0 };
  const view = pullProgress(
    NAME,
    (line) => notes.push(line),
    () => clock.ms,
  );
  return { notes, clock, view };
}

describe('the progress of a pull', () => {
  test('names the image before anything is known of it, and says for how long', () => {
    const { view, clock } = benchOf();
    clock.ms = 4_000;
    assert.deepEqual(view.status(Infinity, 1), [`${NAME}  resolving, 4 s`]);
  });

  test('total, rate and time left; a line for each blob under way, none for others', () => {
    const { view, clock, notes } = benchOf();
    const [a, b, c] = [blobOf('a', 10 * MIB), blobOf('b', 6 * MIB), blobOf('c', 4 * MIB)];
    view.planned?.([a, b, c, blobOf('there', 1)], [a, b, c]);
    view.copied?.(a, 2 * MIB);
    view.copied?.(b, MIB);
    clock.ms = 1_000;
    const [head, ...blobs] = view.status(Infinity, 24);
    assert.equal(head, `${NAME}  15%, 6 s left, 3.0 MiB of 20.0 MiB, 3.0 MiB/s, 0 of 3 blobs`);
    assert.equal(blobs.length, 2);
    assert.match(blobs[0] ?? '', /^ {2}[0-9a-f]{12} \[={6} {24}\] {2}20% of 10\.0 MiB$/);
    view.finished?.(c, 'another pull');
    view.finished?.(b, 'us');
    clock.ms = 2_000;
    assert.equal(view.status(Infinity, 24).length, 2);
    assert.match(view.status(Infinity, 1)[0] ?? '', / 60%, .* 12\.0 MiB of 20\.0 MiB, .* 2 of 3 blobs$/);
    view.finished?.(a, 'us');
    assert.deepEqual(view.status(Infinity, 24), [`${NAME}  100%, 20.0 MiB, publishing`]);
    assert.equal(notes[0], `${NAME}: 3 of 4 blobs to copy, 20.0 MiB`);
    assert.equal(notes.length, 4, 'one for the image, one for each blob');
    assert.match(notes[1] ?? '', /^ {2}[0-9a-f]{12} copied by another pull, 4\.0 MiB$/);
  });

  test('the rate is that of the last seconds; without one there is no time left to tell', () => {
    const { view, clock } = benchOf();
    const blob = blobOf('a', 100 * MIB);
    view.planned?.([blob], [blob]);
    assert.match(view.status(Infinity, 1)[0] ?? '', /0%, time left unknown, 0 bytes of 100\.0 MiB, 0 of 1 blob$/);
    view.copied?.(blob, 50 * MIB);
    for (clock.ms = 1_000; clock.ms <= 20_000; clock.ms += 1_000) view.status(Infinity, 1);
    assert.match(view.status(Infinity, 1)[0] ?? '', /50%, time left unknown, .* 0 bytes\/s/);
  });

  test('a blob that is read again from its beginning is never more than whole', () => {
    const { view, clock } = benchOf();
    const [a, b] = [blobOf('a', 10), blobOf('b', 10)];
    view.planned?.([a], [a]);
    view.planned?.([a, b], [b]);
    view.copied?.(a, 35);
    clock.ms = 1_000;
    const lines = view.status(Infinity, 24);
    assert.match(lines[0] ?? '', / 50%, /);
    assert.match(lines[1] ?? '', /\[={30}\] 100% of 10 bytes$/);
  });

  test('fits every width and height, and the percentage goes last', () => {
    const { view, clock } = benchOf();
    const blobs = Array.from({ length: 40 }, (_, at) => blobOf(String(at), (at + 1) * MIB));
    view.planned?.(blobs, blobs);
    for (const blob of blobs) view.copied?.(blob, MIB / 2);
    for (let columns = 1; columns < 200; columns += 1) {
      clock.ms += 300;
      for (const rows of [1, 2, 24]) {
        const lines = view.status(columns, rows);
        assert.equal(lines.length, rows);
        for (const line of lines) assert.ok(line.length <= columns, `${columns}: ${line}`);
        if (columns > 2) assert.match(lines[0] ?? '', /2%/);
      }
    }
  });

  test('an image of empty blobs is whole at once', () => {
    const { view } = benchOf();
    const blob = blobOf('', 0);
    view.planned?.([blob], [blob]);
    view.copied?.(blob, 0);
    assert.match(view.status(80, 24).join('\n'), /100%/);
  });
});
