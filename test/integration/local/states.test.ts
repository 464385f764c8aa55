import {
  DescribeExecutionCommand,
  ListExecutionsCommand,
  StartExecutionCommand,
  StopExecutionCommand,
  type SFNClient,
} from '@aws-sdk/client-sfn';
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  startStates,
  statusChangeEvent,
  type Execution,
  type Haste,
  type Invoke,
  type States,
} from '../../../infra/local/states/states.ts';
import { gate, oneTask, sfnClientAt, task } from '../../support/state-machine.ts';

interface Bench extends AsyncDisposable {
  readonly states: States;
  readonly client: SFNClient;
  /** Function and payload of each invocation, in order. */
  readonly calls: [string, unknown][];
  /** In the order of their ends. */
  readonly ended: Execution[];
  start(name: string, input?: object): Promise<string>;
  /** Once it ended. */
  outcome(name: string): Promise<Execution>;
}

/** The endpoint with a client, functions that answer what `answers` says (else what they were given), and all that was seen. */
async function bench(
  definition: object,
  answers: Partial<Record<string, (payload: unknown, call: number) => ReturnType<Invoke>>> = {},
  haste: Haste = {},
  file?: string,
): Promise<Bench> {
  const calls: [string, unknown][] = [];
  const ended: Execution[] = [];
  const states = await startStates({
    definition,
    haste,
    ...(file === undefined ? {} : { file }),
    onEnded: (execution) => ended.push(execution),
    invoke: (name, payload) => {
      const call = calls.filter(([called]) => called === name).length;
      calls.push([name, payload]);
      return answers[name]?.(payload, call) ?? Promise.resolve({ payload });
    },
  });
  const client = sfnClientAt(states.endpoint);
  const { stateMachineArn } = states;
  return {
    states,
    client,
    calls,
    ended,
    async start(name, input = { id: name }) {
      const command = new StartExecutionCommand({ stateMachineArn, name, input: JSON.stringify(input) });
      return (await client.send(command)).executionArn!;
    },
    async outcome(name) {
      for (let look = 0; look < 400; look++) {
        const found = ended.find((execution) => execution.name === name);
        if (found !== undefined) return found;
        await sleep(10);
      }
      throw new Error(`${name} did not end within 4 s`);
    },
    async [Symbol.asyncDispose]() {
      client.destroy();
      await states.close();
    },
  };
}

const answer = (payload: unknown) => () => Promise.resolve({ payload });
const failure =
  (errorType: string, errorMessage = 'on purpose') =>
  () =>
    Promise.resolve({ errorType, errorMessage });

const mapOver = (more: object = {}, inside: object = {}): object => ({
  StartAt: 'each',
  States: {
    each: {
      Type: 'Map',
      ItemsPath: '$.items',
      ItemProcessor: {
        ProcessorConfig: { Mode: 'INLINE' },
        StartAt: 'item',
        States: { item: task('item', undefined, inside) },
      },
      End: true,
      ...more,
    },
  },
});

void suite('the embedded Step Functions', () => {
  test('carries out an execution, and describes and lists it', async () => {
    await using machine = await bench(oneTask('work'), { work: answer({ done: true }) });
    const executionArn = await machine.start('one');
    const seen = await machine.outcome('one');
    assert.deepEqual(machine.calls, [['work', { id: 'one' }]]);
    assert.equal(seen.status, 'SUCCEEDED');
    assert.equal(seen.events, 7);

    const described = await machine.client.send(new DescribeExecutionCommand({ executionArn }));
    assert.equal(described.status, 'SUCCEEDED');
    assert.equal(described.name, 'one');
    assert.equal(described.output, '{"done":true}');
    assert.ok(described.startDate! <= described.stopDate!);

    const { stateMachineArn } = machine.states;
    await machine.start('two');
    await machine.outcome('two');
    const list = (more: object) => machine.client.send(new ListExecutionsCommand({ stateMachineArn, ...more }));
    assert.deepEqual(
      (await list({})).executions!.map(({ name }) => name),
      ['two', 'one'],
    );
    assert.deepEqual((await list({ statusFilter: 'RUNNING' })).executions, []);
    const first = await list({ maxResults: 1 });
    const second = await list({ maxResults: 1, nextToken: first.nextToken });
    assert.deepEqual(
      [...first.executions!, ...second.executions!].map(({ name }) => name),
      ['two', 'one'],
    );
    assert.equal(second.nextToken, undefined);
  });

  test('starts a name once: again while it runs with the same input, and never after', async () => {
    const held = gate();
    await using machine = await bench(oneTask('work'), {
      work: async (payload) => {
        await held.opened;
        return { payload };
      },
    });
    const [once, again] = await Promise.all([machine.start('one'), machine.start('one')]);
    assert.equal(once, again);
    await assert.rejects(machine.start('one', { id: 'other' }), { name: 'ExecutionAlreadyExists' });
    held.open();
    await machine.outcome('one');
    await assert.rejects(machine.start('one'), { name: 'ExecutionAlreadyExists' });
    assert.equal(machine.calls.length, 1);
    assert.equal(machine.ended.length, 1);
  });

  test('refuses what Step Functions refuses', async () => {
    await using machine = await bench(oneTask('work'));
    const { stateMachineArn } = machine.states;
    for (const name of ['', 'a b', 'a/b', 'a:b', 'x'.repeat(81)]) {
      await assert.rejects(machine.start(name), { name: 'InvalidName' }, JSON.stringify(name));
    }
    const send = (more: object) => machine.client.send(new StartExecutionCommand({ stateMachineArn, ...more }));
    await assert.rejects(send({ input: '{' }), { name: 'InvalidExecutionInput' });
    await assert.rejects(send({ input: JSON.stringify('x'.repeat(262_144)) }), { name: 'InvalidExecutionInput' });
    await assert.rejects(send({ stateMachineArn: `${stateMachineArn}x` }), { name: 'StateMachineDoesNotExist' });
    await assert.rejects(send({ stateMachineArn: 'entrepot' }), { name: 'InvalidArn' });
    const unknown = `${stateMachineArn.replace('stateMachine', 'execution')}:nobody`;
    await assert.rejects(machine.client.send(new DescribeExecutionCommand({ executionArn: unknown })), {
      name: 'ExecutionDoesNotExist',
    });
    const invalid = startStates({
      definition: { StartAt: 'a', States: {} },
      invoke: answer({}),
      onEnded: () => undefined,
    });
    await assert.rejects(invalid, /invalid/);
    assert.deepEqual(machine.calls, []);
  });

  test('is not for web pages', async () => {
    await using machine = await bench(oneTask('work'));
    const status = await new Promise((resolve, reject) => {
      request({ port: machine.states.port, method: 'POST', headers: { 'content-type': 'text/plain' } }, (got) => {
        got.resume();
        resolve(got.statusCode);
      })
        .once('error', reject)
        .end(JSON.stringify({ stateMachineArn: machine.states.stateMachineArn }));
    });
    assert.equal(status, 400);
  });

  test('matches Retry and Catch by the name of the error, and gives the cause as AWS does', async () => {
    const definition = {
      StartAt: 'work',
      States: {
        work: task('work', 'end', {
          Retry: [{ ErrorEquals: ['Retryable'], IntervalSeconds: 1, MaxAttempts: 2, JitterStrategy: 'FULL' }],
          Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'fail' }],
        }),
        fail: task('fail', 'end'),
        end: { Type: 'Succeed' },
      },
    };
    const work = (_: unknown, call: number) => failure(call < 2 ? 'Retryable' : 'DeniedError')();
    await using machine = await bench(definition, { work }, { retryIntervalOverrides: { work: 5 } });
    await machine.start('one');
    assert.equal((await machine.outcome('one')).status, 'SUCCEEDED');
    assert.equal(machine.calls.filter(([name]) => name === 'work').length, 3);
    const [, payload] = machine.calls.at(-1) as [string, { id: string; error: { Error: string; Cause: string } }];
    assert.equal(payload.id, 'one');
    assert.equal(payload.error.Error, 'DeniedError');
    assert.deepEqual(JSON.parse(payload.error.Cause), {
      errorType: 'DeniedError',
      errorMessage: 'on purpose',
      trace: [],
    });
  });

  test('ends as failed with the error that nobody caught, also one of a function that could not be called', async () => {
    const definition = {
      StartAt: 'work',
      States: { work: task('work', 'other'), other: { Type: 'Fail', Error: 'PullFailed', Cause: 'see the record' } },
    };
    await using machine = await bench(definition, {
      work: (payload) =>
        (payload as { id: string }).id === 'broken'
          ? Promise.reject(new Error('no such function'))
          : failure('Lambda.TooManyRequestsException', 'Rate Exceeded.')(),
    });
    await machine.start('broken');
    const broken = await machine.outcome('broken');
    assert.deepEqual(
      [broken.status, broken.error, broken.cause],
      ['FAILED', 'Lambda.SdkClientException', 'no such function'],
    );
    await machine.start('throttled');
    const throttled = await machine.outcome('throttled');
    assert.deepEqual([throttled.error, throttled.cause], ['Lambda.TooManyRequestsException', 'Rate Exceeded.']);
  });

  test('tells the end as EventBridge does', async () => {
    await using machine = await bench({
      StartAt: 'no',
      States: { no: { Type: 'Fail', Error: 'PullFailed', Cause: 'why' } },
    });
    await machine.start('one');
    const event = statusChangeEvent(await machine.outcome('one')) as Record<string, unknown> & { detail: object };
    assert.equal(event.source, 'aws.states');
    assert.equal(event['detail-type'], 'Step Functions Execution Status Change');
    const { stateMachineArn } = machine.states;
    assert.partialDeepStrictEqual(event.detail, {
      name: 'one',
      status: 'FAILED',
      error: 'PullFailed',
      cause: 'why',
      stateMachineArn,
    });
  });

  test('a failed item stops the others of its Map, and those still to come', async () => {
    const items = Array.from({ length: 100 }, (_, item) => ({ item }));
    const item = async (payload: unknown) => {
      if ((payload as { item: number }).item === 3) return { errorType: 'DeniedError', errorMessage: 'no' };
      await sleep(20);
      return { payload };
    };
    await using machine = await bench(mapOver({ MaxConcurrency: 10 }), { item });
    await machine.start('one', { items });
    const { status, error } = await machine.outcome('one');
    assert.deepEqual([status, error], ['FAILED', 'DeniedError']);
    await sleep(100);
    assert.ok(machine.calls.length <= 11, `${machine.calls.length} items were begun`);
  });

  test('a Map that is tried again does all its items again', async () => {
    const map = mapOver({ Retry: [{ ErrorEquals: ['Once'], MaxAttempts: 1 }] });
    const item = (payload: unknown, call: number) =>
      Promise.resolve(call === 0 ? { errorType: 'Once', errorMessage: 'once' } : { payload });
    await using machine = await bench(map, { item }, { retryIntervalOverrides: { each: 5 } });
    await machine.start('one', { items: [1, 2, 3] });
    const { status, output } = await machine.outcome('one');
    assert.deepEqual([status, output], ['SUCCEEDED', '[1,2,3]']);
  });

  test('a stop ends it at once; functions under way go on, and a wait before a retry is not cut short into a try', async () => {
    const held = gate();
    const work = async () => {
      await held.opened;
      return { payload: {} };
    };
    const retried = { Retry: [{ ErrorEquals: ['States.ALL'], IntervalSeconds: 60 }] };
    const definition = {
      StartAt: 'both',
      States: {
        both: {
          Type: 'Parallel',
          Branches: [oneTask('work'), oneTask('broken', retried)],
          End: true,
        },
      },
    };
    await using machine = await bench(definition, { work, broken: failure('Retryable') });
    const executionArn = await machine.start('one');
    for (let look = 0; machine.calls.length < 2 && look < 400; look++) await sleep(10);
    await sleep(20);
    await machine.client.send(new StopExecutionCommand({ executionArn, error: 'Operator', cause: 'by hand' }));
    const { status, error, cause } = await machine.outcome('one');
    assert.deepEqual([status, error, cause], ['ABORTED', 'Operator', 'by hand']);
    held.open();
    await sleep(50);
    assert.equal(machine.calls.length, 2);
    await machine.client.send(new StopExecutionCommand({ executionArn }));
    assert.equal(machine.ended.length, 1);
  });

  test('times out where the definition says so, and nowhere else', async () => {
    await using machine = await bench(
      { ...oneTask('work'), TimeoutSeconds: 1 },
      { work: () => sleep(1_300, { payload: {} }) },
    );
    await machine.start('one');
    assert.equal((await machine.outcome('one')).status, 'TIMED_OUT');
    await using task = await bench(oneTask('work', { TimeoutSeconds: 1 }), {
      work: () => sleep(1_300, { payload: {} }),
    });
    await task.start('one');
    assert.equal((await task.outcome('one')).error, 'States.Timeout');
  });

  test('holds states to 256 KiB and histories to 25,000 events, whatever catches errors', async () => {
    const caught = { Catch: [{ ErrorEquals: ['States.ALL'], Next: 'rescue' }] };
    const large = { StartAt: 'work', States: { work: task('work', 'rescue', caught), rescue: { Type: 'Succeed' } } };
    await using machine = await bench(large, { work: answer('x'.repeat(262_144)) });
    await machine.start('one');
    assert.equal((await machine.outcome('one')).error, 'States.DataLimitExceeded');

    await using map = await bench(mapOver(), { item: answer('x'.repeat(3_000)) });
    await map.start('one', { items: Array.from({ length: 100 }, () => 1) });
    assert.equal((await map.outcome('one')).error, 'States.DataLimitExceeded');

    const again = { Variable: '$.id', IsPresent: true, Next: 'again' };
    const loop = {
      StartAt: 'again',
      States: {
        again: { Type: 'Pass', Next: 'choice' },
        choice: { Type: 'Choice', Choices: [again], Default: 'end' },
        end: { Type: 'Succeed' },
      },
    };
    await using endless = await bench(loop);
    // It runs in this process: while it counts, the SDK may give its own request up, and send it once more.
    await endless.start('one').catch((error: unknown) => assert.match(String(error), /^ExecutionAlreadyExists/));
    const { status, cause } = await endless.outcome('one');
    assert.equal(status, 'FAILED');
    assert.match(cause!, /maximum number of history events/);
  });

  test('counts a Map of 200 tasks as AWS does, and hands the context over', async () => {
    const map = { ItemSelector: { 'of.$': '$$.Execution.Name', 'index.$': '$$.Map.Item.Index' } };
    await using machine = await bench(mapOver(map));
    await machine.start('one', { items: Array.from({ length: 200 }, (_, item) => item) });
    const { events, output } = await machine.outcome('one');
    assert.deepEqual((JSON.parse(output!) as unknown[])[199], { of: 'one', index: 199 });
    // Started; the Map entered and started; each item started, its task entered, scheduled, started, succeeded, left, the item succeeded; …
    assert.equal(events, 1 + 2 + 200 * 7 + 2 + 1);
  });

  test('what ran when the process ended goes on in the next one with its file, and nothing else does', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'entrepot-states-'));
    try {
      const file = join(folder, 'executions.json');
      const held = gate();
      const work = async (payload: unknown) => {
        if ((payload as { wait?: boolean }).wait === true) await held.opened;
        return { payload };
      };
      {
        await using first = await bench(oneTask('work'), { work }, {}, file);
        for (const name of ['one', 'two']) await first.start(name, { id: name, wait: true });
        await first.start('over');
        await first.outcome('over');
        await first.start('stopped', { id: 'stopped', wait: true });
        const { stateMachineArn } = first.states;
        const { executions = [] } = await first.client.send(new ListExecutionsCommand({ stateMachineArn }));
        const { executionArn } = executions.find(({ name }) => name === 'stopped')!;
        await first.client.send(new StopExecutionCommand({ executionArn }));
        // As much as a killed process leaves: the file as it is while they run.
        const left = await readFile(file);
        held.open();
        await first.outcome('one');
        await first.outcome('two');
        assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), []);
        await writeFile(file, left);
      }
      {
        await using second = await bench(oneTask('work'), { work }, {}, file);
        assert.deepEqual(second.calls, [], 'not before the functions can be called');
        second.states.resume();
        for (const name of ['one', 'two']) assert.equal((await second.outcome(name)).status, 'SUCCEEDED');
        assert.deepEqual(second.calls, [
          ['work', { id: 'one', wait: true }],
          ['work', { id: 'two', wait: true }],
        ]);
        assert.equal(second.ended.length, 2);
      }
      for (const text of ['[]', '', '[{"name": 1}, null]', '{}', '[{"name":']) {
        await writeFile(file, text);
        await using third = await bench(oneTask('work'), { work }, {}, file);
        third.states.resume();
        await third.start('new');
        await third.outcome('new');
        assert.deepEqual(third.calls, [['work', { id: 'new' }]], text);
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test('what runs when it is closed is told to nobody, and stays in the file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'entrepot-states-'));
    try {
      const file = join(folder, 'executions.json');
      const held = gate();
      const machine = await bench(oneTask('work'), { work: () => held.opened.then(() => ({ payload: {} })) }, {}, file);
      await machine.start('one');
      const closed = machine[Symbol.asyncDispose]();
      held.open();
      await closed;
      assert.deepEqual(machine.ended, []);
      assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), [{ name: 'one', input: '{"id":"one"}' }]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test('without a file executions are unknown after its end, and nothing goes on', async () => {
    let told: AbortSignal | undefined;
    const machine = await startStates({
      definition: oneTask('work'),
      onEnded: () => assert.fail('an execution that vanished was told'),
      invoke: async (_name, _payload, signal) => {
        told = signal;
        await sleep(60_000, undefined, { signal });
        return { payload: {} };
      },
    });
    const client = sfnClientAt(machine.endpoint);
    const { stateMachineArn } = machine;
    await client.send(new StartExecutionCommand({ stateMachineArn, name: 'one', input: '{}' }));
    for (let look = 0; told === undefined && look < 400; look++) await sleep(10);
    client.destroy();
    await machine.close();
    await machine.close();
    assert.ok(told?.aborted);
  });
});
