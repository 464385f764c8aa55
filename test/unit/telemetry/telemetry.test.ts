import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CacheError, DeniedError } from '../../../lib/errors/cache-error.ts';
import { describedError, redacted } from '../../../lib/telemetry/logger.ts';

const LIB = join(import.meta.dirname, '../../../lib/telemetry');

interface Written {
  readonly lines: readonly Record<string, unknown>[];
  readonly plain: string;
}

/** What a process writes that runs the script with `logger` and `metrics` of one invocation. */
function written(script: string, variables: Record<string, string> = {}): Written {
  const program = `
    import { invocationLogger, powertoolsLogger } from ${JSON.stringify(join(LIB, 'powertools.ts'))};
    import { invocationMetrics, powertoolsMetrics } from ${JSON.stringify(join(LIB, 'powertools.ts'))};
    const shared = { logger: powertoolsLogger(), metrics: powertoolsMetrics() };
    const logger = invocationLogger(shared.logger, { requestId: 'request' });
    const metrics = invocationMetrics(shared.metrics);
    ${script}`;
  const env = {
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    POWERTOOLS_SERVICE_NAME: 'entrepot',
    POWERTOOLS_METRICS_NAMESPACE: 'Entrepot',
    ...variables,
  };
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    env,
    encoding: 'utf8',
    timeout: 20_000,
  });
  assert.equal(status, 0, stderr);
  const plain = stdout + stderr;
  const lines = plain.split('\n').filter((line) => line !== '');
  return { plain, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('the log', () => {
  test('is one line of JSON for each call, with what is kept', () => {
    const { lines } = written(`
      logger.info('begun', { reference: 'alpine' });
      logger.keep({ pullId: 'pull' });
      logger.warn('slow');
      logger.error('failed', new Error('why', { cause: new TypeError('deeper') }), { tries: 3 });`);
    assert.deepEqual(
      lines.map(({ level, message, service, requestId, pullId }) => ({ level, message, service, requestId, pullId })),
      [
        { level: 'INFO', message: 'begun', service: 'entrepot', requestId: 'request', pullId: undefined },
        { level: 'WARN', message: 'slow', service: 'entrepot', requestId: 'request', pullId: 'pull' },
        { level: 'ERROR', message: 'failed', service: 'entrepot', requestId: 'request', pullId: 'pull' },
      ],
    );
    assert.equal(lines[0]?.reference, 'alpine');
    const { error, tries } = lines[2] as { error: Record<string, unknown>; tries: number };
    assert.equal(tries, 3);
    assert.equal(error.message, 'why');
    assert.match(error.stack as string, /^Error: why\n {4}at /);
    assert.equal((error.cause as Record<string, unknown>).name, 'TypeError');
  });

  test('of one invocation does not show what another one kept', () => {
    const { lines } = written(`
      logger.keep({ pullId: 'first' });
      invocationLogger(shared.logger, { requestId: 'second' }).info('another');`);
    assert.equal(lines[0]?.requestId, 'second');
    assert.equal(lines[0].pullId, undefined);
  });

  test('has the level of POWERTOOLS_LOG_LEVEL', () => {
    const calls = `logger.debug('d'); logger.info('i'); logger.warn('w'); logger.error('e', new Error('e'));`;
    const levels = (level: string) => written(calls, { POWERTOOLS_LOG_LEVEL: level }).lines.map((line) => line.message);
    assert.deepEqual(levels('ERROR'), ['e']);
    assert.deepEqual(levels('DEBUG'), ['d', 'i', 'w', 'e']);
    assert.deepEqual(
      written(calls).lines.map((line) => line.message),
      ['i', 'w', 'e'],
    );
  });

  test('holds no secret, wherever it stands', () => {
    const { plain } = written(`
      const url = 'https://me:hunter2@registry.example.test/v2/?X-Amz-Signature=hunter2&token=hunter2';
      logger.info('asked ' + url, { url, deep: [{ header: 'Bearer hunter2' }] });
      logger.error('failed', new Error('Basic hunter2', { cause: new AggregateError([new Error(url)]) }), { url });`);
    assert.match(plain, /\[redacted\]/);
    assert.doesNotMatch(plain, /hunter2/);
  });
});

describe('metrics', () => {
  test('are one line of EMF with sums, units and the dimension service', () => {
    const { lines } = written(`
      metrics.add('Hits', 1);
      metrics.add('Hits', 2);
      metrics.add('BytesSaved', 10);
      metrics.add('OldestRunningPullSeconds', 0);
      metrics.add('FillMilliseconds', 5);
      metrics.add('FillMilliseconds', 7);
      metrics.flush();
      metrics.flush();`);
    assert.equal(lines.length, 1);
    const [{ _aws: emf, ...values } = {}] = lines;
    assert.deepEqual(values, {
      service: 'entrepot',
      Hits: 3,
      BytesSaved: 10,
      OldestRunningPullSeconds: 0,
      FillMilliseconds: [5, 7],
    });
    const [directive] = (emf as { CloudWatchMetrics: unknown[] }).CloudWatchMetrics;
    assert.deepEqual(directive, {
      Namespace: 'Entrepot',
      Dimensions: [['service']],
      Metrics: [
        { Name: 'Hits', Unit: 'Count' },
        { Name: 'BytesSaved', Unit: 'Bytes' },
        { Name: 'OldestRunningPullSeconds', Unit: 'Seconds' },
        { Name: 'FillMilliseconds', Unit: 'Milliseconds' },
      ],
    });
  });

  test('stay one line however much is measured, and nothing is written where nothing was counted', () => {
    const { lines } = written(`
      for (let i = 0; i < 500; i++) { metrics.add('FillMilliseconds', i); metrics.add('Hits', 1); }
      metrics.flush();`);
    assert.equal(lines.length, 1);
    assert.equal(lines[0]?.Hits, 500);
    assert.equal(written('metrics.flush();').plain, '');
  });

  test('of two invocations at the same time are two lines', () => {
    const { lines } = written(`
      const other = invocationMetrics(shared.metrics);
      metrics.add('Hits', 1);
      other.add('Misses', 1);
      other.flush();
      metrics.flush();`);
    assert.deepEqual(
      lines.map(({ Hits, Misses }) => ({ Hits, Misses })),
      [
        { Hits: undefined, Misses: 1 },
        { Hits: 1, Misses: undefined },
      ],
    );
  });
});

describe('an error in the log', () => {
  test('has its fields, and a stack only where it was not thrown on purpose', () => {
    const denied = describedError(new DeniedError('resolve', 'no', new Error('below')));
    assert.equal(denied.code, 'DENIED');
    assert.equal(denied.retryable, false);
    assert.equal(denied.stack, undefined);
    assert.ok((denied.cause as { stack?: string }).stack?.startsWith('Error: below'));
    assert.deepEqual(describedError('text'), { name: 'string' });
  });

  test('is bounded in length, depth and number', () => {
    let deep = new Error('x'.repeat(100_000));
    for (let i = 0; i < 100; i++) deep = new Error('outer', { cause: deep });
    const many = new AggregateError(Array.from({ length: 1000 }, () => new CacheError('one', FIELDS)));
    assert.ok(JSON.stringify(describedError(deep)).length < 50_000);
    assert.equal((describedError(many).errors as unknown[]).length, 20);
    assert.equal(redacted('x'.repeat(100_000)).length, 4096);
    // Where the text is cut, a secret must not lose what it is known by.
    const across = redacted(`${'x'.repeat(4070)} https://user:hunter2-very-long@registry.example.test/`);
    assert.doesNotMatch(across, /hunter2/);
  });
});

const FIELDS = { op: 'test', origin: 'client', retryable: false } as const;
