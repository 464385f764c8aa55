import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, mock, test } from 'node:test';
import { stringify } from 'yaml';
import { compileConfig } from '../../../lib/config/compiled.ts';
import { loadConfig } from '../../../lib/config/config.ts';
import { ConfigError, DeadlineError, DeniedError, StoreError } from '../../../lib/errors/cache-error.ts';
import { lambdaHandler, type HandlerOptions, type Invocation } from '../../../lib/lambda/handler.ts';
import type { Services } from '../../../lib/services.ts';
import { httpEvent, lambdaContext } from '../../support/http-event.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-handler-'));
const file = join(folder, 'config.json');

type Work = (event: unknown, invocation: Invocation) => Promise<unknown>;

/** Lines of the log and of EMF. */
type Line = Readonly<Record<string, unknown>>;

const written: Line[] = [];

/** One invocation of a new handler in this process. */
const invoke = async (work: Work, event: unknown = {}, options: HandlerOptions = {}, remainingMs = 60_000) =>
  lambdaHandler(work, options)(event, lambdaContext(remainingMs));

const logged = (): readonly Line[] => written.filter((line) => 'level' in line);
const counted = (): readonly Line[] => written.filter((line) => '_aws' in line);

describe('in the process of a function', () => {
  const environment = { ...process.env };
  before(() => {
    Object.assign(process.env, { ENTREPOT_CONFIG: file, ENTREPOT_TABLE: 'table', AWS_REGION: 'us-east-1' });
    for (const name of ['ENTREPOT_STATE_MACHINE', 'ENTREPOT_BUS', 'POWERTOOLS_LOG_LEVEL']) {
      Reflect.deleteProperty(process.env, name);
    }
    const yaml = join(folder, 'entrepot.yaml');
    writeFileSync(yaml, stringify({ registries: { 'registry.example.test': {} } }));
    writeFileSync(file, compileConfig(loadConfig({ ENTREPOT_CONFIG: yaml }, folder)));
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
      mock.method(stream, 'write', (...args: unknown[]) => {
        if (typeof args[0] !== 'string' || !args[0].startsWith('{')) return write(...args);
        written.push(JSON.parse(args[0]) as Line);
        return true;
      });
    }
  });
  after(() => {
    mock.restoreAll();
    for (const name of Object.keys(process.env)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, environment);
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(() => {
    written.length = 0;
    process.env.ENTREPOT_BUCKET = 'bucket';
  });

  describe('the handler of a function', () => {
    test('says what is not set up each time, and works once it is', async () => {
      process.env.ENTREPOT_BUCKET = '';
      const work = mock.fn(() => Promise.resolve('done'));
      await assert.rejects(invoke(work), { name: 'ConfigError', message: /ENTREPOT_BUCKET: is not set/ });
      await assert.rejects(invoke(work), ConfigError);
      assert.equal(work.mock.callCount(), 0);
      process.env.ENTREPOT_BUCKET = 'bucket';
      assert.equal(await invoke(work), 'done');
    });

    test('keeps its services, and gives each invocation the rest', async () => {
      const seen: Services[] = [];
      const work: Work = (event, invocation) => {
        seen.push(invocation.services);
        assert.deepEqual(event, { id: 1 });
        assert.equal(invocation.requestId, lambdaContext().awsRequestId);
        const remainingMs = invocation.remainingMs();
        assert.ok(remainingMs > 50_000 && remainingMs <= 60_000);
        return Promise.resolve();
      };
      await invoke(work, { id: 1 });
      await invoke(work, { id: 1 });
      assert.equal(seen.length, 2);
      assert.equal(seen[0], seen[1]);
      assert.deepEqual([...(seen[0]?.config.registries.keys() ?? [])], ['registry.example.test']);
    });

    test('what has no address in the environment says so when it is used', async () => {
      await invoke(async (_event, { services, signal }) => {
        await assert.rejects(services.executions.look('id', signal), /ENTREPOT_STATE_MACHINE is not set/);
        await assert.rejects(
          services.announcer.announce({ type: 'Pull Failed', detail: {} as never }, signal),
          /ENTREPOT_BUS is not set/,
        );
      });
    });

    test('tells the work to stop while there is time left, and no clock runs on', async () => {
      let kept: AbortSignal | undefined;
      const startedMs = performance.now();
      const waits: Work = (_event, { signal }) => {
        kept = signal;
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        });
      };
      await assert.rejects(invoke(waits, {}, {}, 200), DeadlineError);
      const tookMs = performance.now() - startedMs;
      assert.ok(tookMs >= 150 && tookMs < 1000, String(tookMs));
      await invoke(
        (_event, { signal }) => {
          kept = signal;
          return Promise.resolve();
        },
        {},
        {},
        100,
      );
      await new Promise((resolve) => setTimeout(resolve, 150));
      assert.equal(kept?.aborted, false);
    });

    test('writes metrics once, as one line, also when the work failed', async () => {
      const counts: Work = (_event, { metrics }) => {
        metrics.add('Hits', 1);
        metrics.add('Hits', 1);
        return Promise.resolve();
      };
      await invoke(counts);
      assert.deepEqual(
        counted().map(({ Hits }) => Hits),
        [2],
      );
      written.length = 0;
      const fails: Work = (_event, { metrics }) => {
        metrics.add('Misses', 1);
        return Promise.reject(new Error('broken'));
      };
      await assert.rejects(invoke(fails), /broken/);
      assert.deepEqual(
        counted().map(({ Hits, Misses }) => [Hits, Misses]),
        [[undefined, 1]],
      );
      written.length = 0;
      await invoke(() => Promise.resolve());
      assert.deepEqual(written, []);
    });

    test('logs an error once with the ids, and fails with it as it is', async () => {
      const error = new DeniedError('resolve', 'Bearer hunter2 was refused');
      const fails: Work = (_event, { logger }) => {
        logger.keep({ pullId: 'pull' });
        return Promise.reject(error);
      };
      await assert.rejects(invoke(fails), (thrown) => thrown === error);
      const [line, ...others] = logged();
      assert.equal(others.length, 0);
      assert.equal(line?.level, 'ERROR');
      assert.equal(line.requestId, lambdaContext().awsRequestId);
      assert.equal(line.pullId, 'pull');
      assert.equal((line.error as Line).name, 'DeniedError');
      assert.equal((line.error as Line).message, 'Bearer [redacted] was refused');
    });

    test('warns only, where the caller tries again anyway', async () => {
      await assert.rejects(
        invoke(() => Promise.reject(new StoreError('put', 'later'))),
        StoreError,
      );
      assert.deepEqual(
        logged().map(({ level }) => level),
        ['WARN'],
      );
    });
  });

  describe('behind an HTTP API', () => {
    const http = { http: true };
    const answer = async (error: Error): Promise<{ statusCode: number; body: string }> =>
      (await invoke(() => Promise.reject(error), httpEvent('{}'), http)) as { statusCode: number; body: string };

    test('an error is an answer of problem details; a fault of the caller is not logged', async () => {
      const { statusCode, body } = await answer(new DeniedError('resolve', 'no'));
      assert.equal(statusCode, 403);
      assert.equal((JSON.parse(body) as Line).detail, 'no');
      assert.deepEqual(logged(), []);
    });

    test('a fault of ours is logged, and not told', async () => {
      const { statusCode, body } = await answer(new TypeError('internals'));
      assert.equal(statusCode, 500);
      assert.doesNotMatch(body, /internals/);
      assert.equal((logged()[0]?.error as Line).message, 'internals');
      assert.equal((JSON.parse(body) as Line).requestId, logged()[0]?.requestId);
    });

    test('whoever invokes it otherwise gets the error itself, and it is logged', async () => {
      await assert.rejects(
        invoke(() => Promise.reject(new DeniedError('resolve', 'no')), {}, http),
        DeniedError,
      );
      assert.equal(logged().length, 1);
    });

    test('a function that answers no HTTP is not fooled by the shape of an event', async () => {
      await assert.rejects(
        invoke(() => Promise.reject(new DeniedError('resolve', 'no')), httpEvent('{}')),
        DeniedError,
      );
    });
  });
});
