import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Writable } from 'node:stream';
import { outputOn } from '../../../lib/cli/output.ts';
import { outputLogger, type LogOptions } from '../../../lib/cli/output-logger.ts';
import type { Logger } from '../../../lib/telemetry/logger.ts';

/** What is written on stderr by the work, line by line, with JSON results or without. */
function linesOf(options: LogOptions, work: (logger: Logger) => void, isJson = false): string[] {
  let text = '';
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  work(outputLogger(outputOn({ stdout: new Writable(), stderr: stream }, isJson), options));
  return text.split('\n').slice(0, -1);
}

const TEXT: LogOptions = { logFormat: 'text', logLevel: 'info' };
const JSON_LINES: LogOptions = { logFormat: 'json', logLevel: 'info' };
/** What a client may send to forge a line, a field, a terminal's screen or a right-to-left text. */
const HOSTILE = [
  'a\nb 2026 info pull request status=200',
  'x cache=hit status=200',
  'a"b\\c',
  '\u001b[2J\u009b2J\r\u0007\u0000',
  '\u202egnp.exe\u2028\u2066',
  '',
  'ünï',
];

describe('the log of a command', () => {
  test('text: name=value, quoted unless nothing in it could end the value', () => {
    const [line = ''] = linesOf(TEXT, (log) =>
      log.info('pull request', {
        method: 'GET',
        digest: 'sha256:12ab',
        bytes: 12,
        userAgent: 'docker/27 (linux)',
        left: undefined,
      }),
    );
    assert.match(
      line,
      /^\d{4}-\S+Z info {2}pull request method=GET digest=sha256:12ab bytes=12 userAgent="docker\/27 \(linux\)"$/,
    );
  });

  for (const value of HOSTILE) {
    test(`a client forges nothing by ${JSON.stringify(value)}`, () => {
      const [text = '', ...more] = linesOf(TEXT, (log) => log.info('m', { userAgent: value, status: 404 }));
      assert.deepEqual(more, []);
      assert.match(text, /^[\x20-\x7e]+$/);
      const [, quoted = ''] = /^\S+ info {2}m userAgent=("(?:[^"\\]|\\.)*") status=404$/.exec(text) ?? [];
      assert.equal(JSON.parse(quoted), value);
      const [json = '', ...others] = linesOf(JSON_LINES, (log) => log.info('m', { userAgent: value, status: 404 }));
      assert.deepEqual(others, []);
      assert.match(json, /^[\x20-\x7e]+$/);
      const { timestamp, ...document } = JSON.parse(json) as { timestamp: string };
      assert.ok(Date.parse(timestamp) > 0);
      assert.deepEqual(document, { level: 'INFO', message: 'm', userAgent: value, status: 404 });
    });
  }

  test('no secret, in a field, in a list, in a message or in an error', () => {
    const secrets = (log: Logger): void => {
      log.warn('GET http://user:hunter2@registry.test', { reason: 'Bearer hunter2', list: ['?token=hunter2'] });
      log.error('failed', new Error('http://user:hunter2@registry.test'));
    };
    for (const options of [TEXT, JSON_LINES]) {
      const lines = linesOf(options, secrets);
      assert.equal(lines.length, 2);
      for (const line of lines) assert.doesNotMatch(line, /hunter2/);
    }
  });

  test('the level leaves out what is below it', () => {
    const all = (log: Logger): void => {
      log.debug('d');
      log.info('i');
      log.warn('w');
      log.error('e', new Error('x'));
    };
    const counts = (['debug', 'info', 'warn', 'error'] as const).map(
      (logLevel) => linesOf({ logFormat: 'text', logLevel }, all).length,
    );
    assert.deepEqual(counts, [4, 3, 2, 1]);
  });

  test('is written beside JSON results, too', () => {
    assert.equal(linesOf(TEXT, (log) => log.info('m'), true).length, 1);
  });
});
