import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FunctionFailedError, MAX_PROCESSES, ThrottledError } from '../../../infra/local/app/functions.ts';
import { startToys, type ToyFunctions } from '../../support/toy-functions.ts';
import { isAlive, until } from '../../support/until.ts';

interface ToyAnswer {
  readonly pid: number;
  readonly count: number;
  readonly remainingMs: number;
  readonly id: string;
  readonly name: string;
  readonly arn: string;
  readonly variable: string;
  readonly event: unknown;
}

describe('functions in processes', { timeout: 300_000 }, () => {
  let toys: ToyFunctions;
  before(async () => {
    toys = await startToys({
      toy: {},
      other: {},
      short: { timeoutMs: 300 },
      reserved: { concurrency: 1 },
      broken: { source: 'throw new TypeError("at import");' },
      empty: { source: 'export const nothing = 1;' },
    });
  });
  after(() => toys[Symbol.asyncDispose]());

  const invoke = async (name: string, event: object = {}): Promise<ToyAnswer> =>
    (await toys.functions.invoke(name, event)) as ToyAnswer;
  const failure = async (name: string, event: object = {}): Promise<FunctionFailedError['error']> => {
    const error: unknown = await invoke(name, event).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof FunctionFailedError, String(error));
    return error.error;
  };

  test('a warm environment is used again, with its own context each time', async () => {
    const [first, second] = [await invoke('toy', { a: 1 }), await invoke('toy')];
    assert.equal(second.pid, first.pid);
    assert.deepEqual([first.count, second.count], [1, 2]);
    assert.deepEqual([first.name, first.variable, first.event], ['toy', 'toy', { a: 1 }]);
    assert.match(first.arn, /:function:toy$/);
    assert.notEqual(first.id, second.id);
    assert.ok(first.remainingMs > 15_000 && first.remainingMs <= 20_000, String(first.remainingMs));
    assert.notEqual((await invoke('other')).pid, first.pid);
  });

  test('events at the same time are handled side by side, each process one', async () => {
    const answers = await Promise.all([1, 2, 3].map(() => invoke('toy', { sleepMs: 300 })));
    assert.equal(new Set(answers.map(({ pid }) => pid)).size, 3);
  });

  test('above the processes of a machine events wait; above the concurrency they are throttled', async () => {
    const many = Array.from({ length: MAX_PROCESSES + 2 }, () => invoke('other', { sleepMs: 200 }));
    assert.equal(new Set((await Promise.all(many)).map(({ pid }) => pid)).size, MAX_PROCESSES);
    const one = invoke('reserved', { sleepMs: 300 });
    await assert.rejects(invoke('reserved'), ThrottledError);
    await one;
    await invoke('reserved');
  });

  test('what a handler throws arrives with its name, and the environment stays', async () => {
    const { pid } = await invoke('reserved');
    const error = await failure('reserved', { fail: { name: 'LeaseHeld', message: 'held' } });
    assert.deepEqual([error.errorType, error.errorMessage], ['LeaseHeld', 'held']);
    assert.equal((await invoke('reserved')).pid, pid);
  });

  test('a handler that takes too long is killed, and the next event gets a new environment', async () => {
    const { pid } = await invoke('short');
    const error = await failure('short', { sleepMs: 5_000 });
    assert.equal(error.errorType, 'Sandbox.Timedout');
    assert.match(error.errorMessage, /Task timed out after 0\.30 seconds$/);
    assert.equal(isAlive(pid), false);
    assert.notEqual((await invoke('short')).pid, pid);
  });

  test('a process that ends, or is killed, is an error of the event it had', async () => {
    const ended = await failure('reserved', { exit: 3 });
    assert.deepEqual([ended.errorType, ended.errorMessage.endsWith('exit status 3')], ['Runtime.ExitError', true]);
    const { pid } = await invoke('reserved');
    const running = failure('reserved', { sleepMs: 5_000 });
    await until(() => toys.functions.environments().some((one) => one.pid === pid && one.state === 'busy'));
    process.kill(pid, 'SIGKILL');
    assert.match((await running).errorMessage, /signal: SIGKILL$/);
    // Killed while it was idle: nobody notices.
    const idle = await invoke('reserved');
    process.kill(idle.pid, 'SIGKILL');
    await until(() => !isAlive(idle.pid));
    assert.notEqual((await invoke('reserved')).pid, idle.pid);
  });

  test('code that cannot be loaded is an error of each event', async () => {
    for (let times = 0; times < 2; times += 1) {
      const error = await failure('broken');
      assert.deepEqual([error.errorType, error.errorMessage], ['TypeError', 'at import']);
    }
    assert.equal((await failure('empty')).errorType, 'Runtime.HandlerNotFound');
    assert.deepEqual(
      toys.functions.environments().filter((one) => one.function === 'broken'),
      [],
    );
    assert.match(await readFile(join(toys.logs, 'function-broken.log'), 'utf8'), /at import/);
  });

  test('an answer of more than 6 MB is an error, one below it is not', async () => {
    const error = await failure('toy', { bytes: 6_400_000 });
    assert.equal(error.errorType, 'Function.ResponseSizeTooLarge');
    assert.equal(((await toys.functions.invoke('toy', { bytes: 6_200_000 })) as string).length, 6_200_000);
    assert.equal(await toys.functions.invoke('toy', { answer: null }), null);
  });

  test('closing kills what is at work', async () => {
    await using others = await startToys({ slow: {} });
    const running = others.functions.invoke('slow', { sleepMs: 10_000 });
    const failed = assert.rejects(running, FunctionFailedError);
    await until(() => others.functions.environments().length > 0);
    const [environment] = others.functions.environments();
    await others.functions.close();
    await failed;
    assert.equal(isAlive(environment!.pid), false);
    await assert.rejects(others.functions.invoke('slow', {}), /being stopped/);
  });

  test('no environment outlives the process that started it, even one that is killed', async () => {
    const support = new URL('../../support/toy-functions.ts', import.meta.url).href;
    const script = `
      const { startToys } = await import(${JSON.stringify(support)});
      const toys = await startToys({ toy: {} });
      const { pid } = await toys.functions.invoke('toy', {});
      void toys.functions.invoke('toy', { sleepMs: 60_000 });
      console.log(pid);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    assert.ok(isAlive(pid));
    child.kill('SIGKILL');
    await until(() => !isAlive(pid));
  });
});
