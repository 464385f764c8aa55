import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { outputOn } from '../../../lib/cli/output.ts';
import { cut, secondsOf, statusOn } from '../../../lib/cli/status.ts';

/** A stream that remembers, with a size if it is a terminal. */
function streamOf(size: { isTTY?: boolean; columns?: number; rows?: number } = {}): Writable & { text: string } {
  const stream = Object.assign(
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        stream.text += chunk.toString();
        done();
      },
    }),
    { text: '', ...size },
  );
  return stream;
}

/** What a terminal of so many columns shows after the text: as far as we move its cursor. */
function screenOf(text: string, columns: number): string[] {
  const lines: string[] = [''];
  let [row, column] = [0, 0];
  const put = (character: string): void => {
    if (column === columns) [row, column] = [row + 1, 0];
    lines[row] = (lines[row] ?? '').padEnd(column).slice(0, column) + character + (lines[row] ?? '').slice(column + 1);
    column += 1;
  };
  for (const [all, count = '', action] of text.matchAll(/\u001b\[(\d*)([AGJ])|\n|[^\u001b]/g)) {
    if (action === 'A') row -= Number(count || 1);
    else if (action === 'G') column = Number(count || 1) - 1;
    else if (action === 'J') {
      lines.splice(row + 1);
      lines[row] = (lines[row] ?? '').slice(0, column);
    } else if (all === '\n') {
      [row, column] = [row + 1, 0];
      lines[row] ??= '';
    } else put(all);
  }
  return lines;
}

describe('what is under way', () => {
  let term: string | undefined;
  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
    term = process.env.TERM;
    process.env.TERM = 'xterm';
  });
  afterEach(() => {
    mock.timers.reset();
    if (term === undefined) delete process.env.TERM;
    else process.env.TERM = term;
  });

  test('without a terminal: a plain line whenever nothing was written, never two seconds without one', () => {
    const stream = streamOf();
    const display = statusOn(stream, Date.now);
    display.show((columns) => [`one of ${columns}`, 'two']);
    for (let elapsedMs = 0; elapsedMs < 10_000; elapsedMs += 2_000) {
      stream.text = '';
      mock.timers.tick(2_000);
      assert.match(stream.text, /^(one of Infinity\n)+$/);
    }
    stream.text = '';
    for (let count = 0; count < 10; count += 1) {
      display.around(() => stream.write('.\n'));
      mock.timers.tick(1_000);
    }
    assert.equal(stream.text, '.\n'.repeat(10), 'whoever is told something else needs no status');
    display.show(undefined);
    mock.timers.tick(10_000);
    assert.equal(stream.text, '.\n'.repeat(10));
  });

  test('a text says for how long', () => {
    const stream = streamOf();
    statusOn(stream, Date.now).show('bundling');
    for (let elapsed = 0; elapsed < 63; elapsed += 1) mock.timers.tick(1_000);
    assert.match(stream.text, /^bundling, [12] s\n/);
    assert.match(stream.text, /\nbundling, 1 min [0-3] s\n$/);
  });

  test('on a terminal: the lines in one place, whatever is written meanwhile, and nothing of them in the end', () => {
    for (const columns of [5, 20, 80]) {
      const stream = streamOf({ isTTY: true, columns, rows: 24 });
      const display = statusOn(stream, Date.now);
      let count = 0;
      display.show(() => [`the whole image ${(count += 1)}`, 'a blob', 'another blob']);
      mock.timers.tick(200);
      assert.equal(stream.text, '', 'what is over soon needs no words');
      mock.timers.tick(1_000);
      assert.equal(screenOf(stream.text, columns).length, 3);
      display.around(() => stream.write('ok\n'));
      mock.timers.tick(1_000);
      const screen = screenOf(stream.text, columns);
      assert.deepEqual([screen.length, screen[0]], [4, 'ok']);
      for (const line of screen) assert.ok(line.length < columns, line);
      display.show(undefined);
      assert.deepEqual(screenOf(stream.text, columns), ['ok', '']);
    }
  });

  test('on a terminal with few rows: as many lines as it has', () => {
    const stream = streamOf({ isTTY: true, columns: 80, rows: 4 });
    statusOn(stream, Date.now).show((_columns, rows) => Array.from({ length: rows + 9 }, (_, at) => `line ${at}`));
    mock.timers.tick(1_000);
    assert.deepEqual(screenOf(stream.text, 80), ['line 0', 'line 1', 'line 2']);
  });

  test('on a terminal that cannot move its cursor: plain lines', () => {
    process.env.TERM = 'dumb';
    const stream = streamOf({ isTTY: true });
    statusOn(stream, Date.now).show('working');
    mock.timers.tick(1_500);
    assert.equal(stream.text, 'working, 2 s\n');
  });

  test('with JSON, and quiet, nothing is said; details are, where they are wanted', () => {
    for (const [isJson, isQuiet] of [
      [true, false],
      [false, true],
    ] as const) {
      const stderr = streamOf();
      const output = outputOn({ stdout: streamOf(), stderr }, isJson, { isQuiet });
      output.status('working');
      output.detail('a detail');
      mock.timers.tick(10_000);
      assert.equal(stderr.text, '');
      outputOn({ stdout: streamOf(), stderr }, isJson, { isQuiet, isVerbose: true }).detail('a detail');
      assert.equal(stderr.text, 'a detail\n');
    }
  });
});

test('texts are cut to their room, and durations are short', () => {
  assert.deepEqual(
    [0, 1, 2, 4, 9].map((room) => cut('image', room)),
    ['', '…', 'i…', 'ima…', 'image'],
  );
  assert.deepEqual([400, 59_400, 60_000, 3_601_000].map(secondsOf), ['0 s', '59 s', '1 min 0 s', '60 min 1 s']);
});
