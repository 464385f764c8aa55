import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  counted,
  failureDocuments,
  failureLines,
  formatBytes,
  formatDuration,
  printable,
  tableLines,
} from '../../../lib/cli/output.ts';
import { CatalogError, DeniedError, InvalidNameError, PlatformMissingError } from '../../../lib/errors/cache-error.ts';

describe('failures', () => {
  test('as documents: one for each reference that was asked for, with exactly the documented fields', () => {
    const error = new DeniedError('read manifest', 'the registry refused');
    const told = { code: 'DENIED', message: 'the registry refused', retryable: false };
    assert.deepEqual(failureDocuments(error, ['a', 'b']), [
      { reference: 'a', error: told },
      { reference: 'b', error: told },
    ]);
    assert.deepEqual(failureDocuments(error, []), [{ error: told }]);
  });

  test('as documents: what has no code says null, and what was not thrown on purpose is not retryable', () => {
    assert.deepEqual(failureDocuments(new CatalogError('find', 'throttled'), []), [
      { error: { code: null, message: 'throttled', retryable: true } },
    ]);
    assert.deepEqual(failureDocuments(new TypeError('oops'), []), [
      { error: { code: null, message: 'oops', retryable: false } },
    ]);
    assert.deepEqual(failureDocuments('thrown text', []), [
      { error: { code: null, message: 'thrown text', retryable: false } },
    ]);
  });

  test('as lines: the causes that the message does not tell, each once, and no stack', () => {
    const root = new Error('connect ECONNREFUSED 127.0.0.1:1');
    const middle = new Error('the table did not answer', { cause: root });
    const lines = failureLines(new CatalogError('find', 'find failed: the table did not answer', middle), ['a']);
    assert.deepEqual(lines, [
      'entrepot: a: find failed: the table did not answer',
      '  because: connect ECONNREFUSED 127.0.0.1:1',
      '  The same command may succeed later.',
    ]);
  });

  test('as lines: names the reference where there is one, and nothing where there are several', () => {
    const error = new InvalidNameError('it is empty');
    assert.deepEqual(failureLines(error, ['a']), ['entrepot: a: it is empty']);
    assert.deepEqual(failureLines(error, ['a', 'b']), ['entrepot: it is empty']);
    // A reference is named once, whether it was written in full or not.
    const full = 'docker.io/library/alpine:latest has no linux/s390x; it has linux/amd64';
    for (const asked of ['alpine', 'docker.io/library/alpine:latest', 'docker.io/library/alpine']) {
      assert.deepEqual(failureLines(new PlatformMissingError(full), [asked]), [`entrepot: ${full}`]);
    }
    assert.deepEqual(failureLines(new PlatformMissingError(full), ['alp']), [`entrepot: alp: ${full}`]);
  });

  test('as lines: a circle of causes ends', () => {
    const error = new Error('first');
    error.cause = new Error('second', { cause: error });
    assert.deepEqual(failureLines(error, []), ['entrepot: first', '  because: second']);
  });

  test('a registry cannot write to the terminal', () => {
    const lines = failureLines(new Error('bad \u001b[2J\u009b2J\r\u0007 name'), ['\u001b]0;x']);
    assert.deepEqual(lines, ['entrepot: \ufffd]0;x: bad \ufffd[2J\ufffd2J\ufffd\ufffd name']);
  });
});

describe('texts for humans', () => {
  test('sizes', () => {
    const cases: [number, string][] = [
      [0, '0 bytes'],
      [1023, '1023 bytes'],
      [1024, '1.0 KiB'],
      [5 * 1024 ** 2, '5.0 MiB'],
      [1.5 * 1024 ** 3, '1.5 GiB'],
      [3000 * 1024 ** 4, '3000.0 TiB'],
    ];
    for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text);
  });

  test('durations and counts', () => {
    assert.deepEqual([0, 999, 1000, 12_345].map(formatDuration), ['0 ms', '999 ms', '1.0 s', '12.3 s']);
    assert.deepEqual(
      [0, 1, 2].map((count) => counted(count, 'blob')),
      ['0 blobs', '1 blob', '2 blobs'],
    );
  });

  test('new lines stay, other control characters do not', () => {
    assert.equal(printable('one\ntwo\tthree\u007f'), 'one\ntwo\ufffdthree\ufffd');
  });

  test('tables are as wide as they need to be, without trailing blanks', () => {
    assert.deepEqual(
      tableLines(
        ['A', 'B'],
        [
          ['long', ''],
          ['x', 'y'],
        ],
      ),
      ['A     B', 'long', 'x     y'],
    );
  });
});
