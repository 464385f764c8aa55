import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs, { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DynamoDBClient, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { openLocalStack } from '../../../infra/local/connect.ts';
import { createHome, homeAt, readRecord, removeRecord, writeRecord, type Home } from '../../../infra/local/home.ts';
import {
  dynamoClientConfig,
  s3ClientConfig,
  type LocalStack,
  type StackEndpoints,
} from '../../../infra/local/local-stack.ts';
import { startEmbeddedDynamo } from '../../support/embedded-dynamo.ts';
import { elsewhere } from '../../support/elsewhere.ts';

const HOLDER = fileURLToPath(new URL('hold-stack.ts', import.meta.url));
const KEEPER = fileURLToPath(new URL('../../../infra/local/keeper.ts', import.meta.url));
const SUPERVISOR = fileURLToPath(new URL('../../../infra/local/supervisor.ts', import.meta.url));
/** Long enough that no supervisor ends while a test still looks at it. */
const IDLE_MS = 2_000;
const WITHIN_MS = 15_000;

/** As they were before a test took them away. */
const { readdirSync, readFileSync } = fs;
const kill = process.kill.bind(process);

let home: Home;

beforeEach(() => {
  home = homeAt(mkdtempSync(join(tmpdir(), 'entrepot-home-')));
});

afterEach(async () => {
  // All of these have the home of this test in their command line.
  for (const pid of pidsOf(home.root)) {
    try {
      kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // It ended since.
    }
  }
  await until('all processes are gone', () => pidsOf(home.root).length === 0);
  rmSync(home.root, { recursive: true, force: true });
});

describe('the supervisor of the embedded stack, with only what every platform has', { timeout: 300_000 }, () => {
  let absence: Disposable;
  before(() => {
    absence = elsewhere();
  });
  after(() => absence[Symbol.dispose]());

  test('8 processes that start at once share one stack', async () => {
    const holders = await Promise.all(Array.from({ length: 8 }, () => startHolder()));
    assert.equal(new Set(holders.map((holder) => JSON.stringify(holder.endpoints))).size, 1);
    assert.equal(pidsOf(SUPERVISOR).length, 1);
    assert.deepEqual(childPids(), recordedPids());
    await Promise.all(holders.map((holder) => holder.end()));
  });

  test('has bucket and table ready, and files for the owner alone; stays while it is held, and shows its record again where somebody deleted it', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: 200 });
    const supervisor = supervisorPid();
    await writeText(stack, 'here');
    assert.equal(await readText(stack), 'here');
    const s3 = new S3Client(s3ClientConfig(stack));
    await s3.send(new HeadBucketCommand({ Bucket: stack.bucket }));
    s3.destroy();
    for (const file of [home.credentials, home.record]) assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(home.root).mode & 0o077, 0);
    await sleep(1_000);
    await writeText(stack, 'still here');
    removeRecord(home);
    await using again = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.deepEqual(endpointsOf(again), endpointsOf(stack));
    assert.equal(supervisorPid(), supervisor);
  });

  test('a killed child is restarted on its port, and has what it acknowledged; one that is left without its keeper is ended before', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeText(stack, 'before');
    const before = recordedPids();
    for (const pid of before) kill(pid, 'SIGKILL');
    await until(
      'both children are new',
      () => recordedPids().length === 2 && !recordedPids().some((pid) => before.includes(pid)),
    );
    assert.equal(await readText(stack), 'before');

    const [database, keeper] = [readRecord(home)?.children.dynamodb?.pid ?? 0, pidsOf(KEEPER)[0] ?? 0];
    kill(keeper, 'SIGKILL');
    await until('there is another', () => ![database, null].includes(readRecord(home)?.children.dynamodb?.pid ?? null));
    assert.equal(await readText(stack), 'before');
    await until('the left one is gone', () => !pidsOf(home.root).includes(database));
    assert.deepEqual(childPids(), recordedPids());
  });

  test('a killed supervisor is replaced by a holder: the same ports and state, and nothing is left of it', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeText(stack, 'before');
    const [children, supervisor] = [recordedPids(), supervisorPid()];
    kill(supervisor, 'SIGKILL');
    await until('there is another supervisor', () => supervisorPid() !== supervisor && pidsOf(SUPERVISOR).length === 1);
    await using again = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.deepEqual(endpointsOf(again), endpointsOf(stack));
    assert.equal(await readText(stack), 'before');
    assert.ok(!recordedPids().some((pid) => children.includes(pid)));
    assert.deepEqual(childPids(), recordedPids());
  });

  test('a supervisor killed at any moment of its start leaves nothing running but what the next one uses', async () => {
    for (let round = 0; round < 5; round += 1) {
      const args = [SUPERVISOR, '--home', home.root, '--idle-ms', String(IDLE_MS)];
      const supervisor = spawn(process.execPath, args, { stdio: 'ignore' });
      const ended = once(supervisor, 'exit');
      await sleep(100 + 100 * round);
      supervisor.kill('SIGKILL');
      await ended;
    }
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeText(stack, 'here');
    await until('only the new children are there', () => childPids().join() === recordedPids().join());
    assert.equal(pidsOf(KEEPER).length, 1);
  });

  test('whoever waits for a supervisor that is killed in its start gets the next one', async () => {
    const opening = openLocalStack(home.root, { idleMs: IDLE_MS });
    await until('it has begun', () => supervisorPid() !== 0);
    kill(supervisorPid(), 'SIGKILL');
    await using stack = await opening;
    await writeText(stack, 'here');
  });

  test('after every Node was killed the next start ends the database that is left, and has its port and state', async () => {
    const holder = await startHolder();
    const stack = await openAndClose();
    await writeText(stack, 'before');
    const database = readRecord(home)?.children.dynamodb?.pid ?? 0;
    for (const pid of pidsOf(home.root)) if (pid !== database) kill(pid, 'SIGKILL');
    await holder.ended;
    assert.ok(pidsOf(home.root).includes(database));
    await using next = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.equal(next.dynamoEndpoint, stack.dynamoEndpoint);
    assert.equal(await readText(next), 'before');
    assert.deepEqual(childPids(), recordedPids());
  });

  test('after everything was killed the next start finds the state', async () => {
    const holder = await startHolder();
    await writeText(await openAndClose(), 'before');
    for (const pid of pidsOf(home.root)) kill(pid, 'SIGKILL');
    await holder.ended;
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.equal(await readText(stack), 'before');
    assert.equal(pidsOf(SUPERVISOR).length, 1);
    assert.deepEqual(childPids(), recordedPids());
  });

  test('ends with its children after nobody used it for a while, also where the last user was killed', async () => {
    const holder = await startHolder(400);
    holder.process.kill('SIGKILL');
    await holder.ended;
    await until('nothing runs', () => pidsOf(home.root).length === 0);
    assert.equal(readRecord(home), undefined);
  });

  test('neither ends nor uses a stranger that has the pid and the port of a stale record', async () => {
    createHome(home);
    const process = spawn('sleep', ['60'], { stdio: 'ignore' });
    const server = await startStranger('{"TableNames":["entrepot","home-0123456789abcdef0123456789abcdef"]}');
    const stale = { pid: process.pid ?? 0, port: (server.address() as AddressInfo).port };
    writeRecord(home, { pid: stale.pid, port: 1, token: 'stale', children: { dynamodb: stale, s3: stale } });
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeText(stack, 'works');
    assert.ok(![stack.dynamoEndpoint, stack.s3Endpoint].includes(`http://127.0.0.1:${stale.port}`));
    assert.ok(!recordedPids().includes(stale.pid));
    assert.equal(process.exitCode ?? process.signalCode, null);
    process.kill();
    server.close();
    server.closeAllConnections();
  });

  test('takes the DynamoDB whose endpoint is named, with a table of its own for each home, and starts none', async () => {
    const outside = await startEmbeddedDynamo();
    process.env.AWS_ENDPOINT_URL_DYNAMODB = outside.endpoint;
    const other = homeAt(join(home.root, 'other'));
    try {
      await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
      await using another = await openLocalStack(other.root, { idleMs: IDLE_MS });
      assert.deepEqual([stack.dynamoEndpoint, another.dynamoEndpoint], [outside.endpoint, outside.endpoint]);
      await writeText(stack, 'here');
      assert.deepEqual([await readText(stack), await readText(another)], ['here', undefined]);
      assert.equal(readRecord(home)?.children.dynamodb, undefined);
      assert.equal(pidsOf(KEEPER).length, 0);
    } finally {
      delete process.env.AWS_ENDPOINT_URL_DYNAMODB;
      await outside.close();
    }
  });

  test('ends when its home is deleted, and leaves a new one in its place alone', async () => {
    const holder = await startHolder();
    const old = recordedPids();
    rmSync(home.root, { recursive: true });
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.equal(await readText(stack), undefined);
    await until('the old children are gone', () => !childPids().some((pid) => old.includes(pid)));
    assert.deepEqual(childPids(), recordedPids());
    await holder.end();
  });

  test('a child that cannot start is the reason that the caller gets', async () => {
    createHome(home);
    mkdirSync(home.dynamoFile); // A folder where the database file should be.
    await assert.rejects(
      openLocalStack(home.root, { idleMs: IDLE_MS }),
      /could not be started.*logs ends with:.*dynamodb does not start/s,
    );
    await until('nothing is left running', () => pidsOf(home.root).length === 0);
  });

  test('gives up waiting when the caller does', async () => {
    const reason = new Error('enough');
    await assert.rejects(openLocalStack(home.root, { idleMs: 100, signal: AbortSignal.abort(reason) }), reason);
  });
});

describe('the supervisor of the embedded stack on this platform', { timeout: 60_000 }, () => {
  test('gets no Ctrl-C of the terminal from which it was started', async () => {
    const holder = await startHolder(IDLE_MS, true);
    const [before, children] = [supervisorPid(), recordedPids()];
    kill(-(holder.process.pid ?? 0), 'SIGINT');
    assert.deepEqual(await holder.ended, [null, 'SIGINT']);
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeText(stack, 'here');
    assert.deepEqual([supervisorPid(), recordedPids()], [before, children]);
  });
});

interface Holder {
  readonly process: ChildProcess;
  readonly endpoints: unknown;
  readonly ended: Promise<unknown>;
  end(): Promise<void>;
}

/** @param ownGroup as a terminal gives one to each command */
async function startHolder(idleMs = IDLE_MS, ownGroup = false): Promise<Holder> {
  const child = spawn(process.execPath, [HOLDER, home.root, String(idleMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: ownGroup,
  });
  const ended = once(child, 'exit');
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    ended.then(() => Promise.reject(new Error('the holder ended before it had the stack'))),
  ])) as [string];
  const end = async (): Promise<void> => {
    child.stdin.end();
    assert.deepEqual(await ended, [0, null]);
  };
  return { process: child, endpoints: JSON.parse(line) as unknown, ended, end };
}

async function openAndClose(): Promise<LocalStack> {
  const stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
  await stack.close();
  return stack;
}

/** An HTTP server that gives every request this answer. */
async function startStranger(answer: string): Promise<Server> {
  const server = createServer((_request, response) => response.end(answer));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const MARK = { pk: { S: 'mark' }, sk: { S: 'mark' } };

async function writeText(stack: StackEndpoints, text: string): Promise<void> {
  const client = new DynamoDBClient(dynamoClientConfig(stack));
  await client.send(new PutItemCommand({ TableName: stack.table, Item: { ...MARK, text: { S: text } } }));
  client.destroy();
}

async function readText(stack: StackEndpoints): Promise<string | undefined> {
  const client = new DynamoDBClient({ ...dynamoClientConfig(stack), maxAttempts: 10 });
  const { Item } = await client.send(new GetItemCommand({ TableName: stack.table, Key: MARK }));
  client.destroy();
  return Item?.text?.S;
}

const endpointsOf = ({ s3Endpoint, dynamoEndpoint }: StackEndpoints): object => ({ s3Endpoint, dynamoEndpoint });

/** 0 where there is no record. */
const supervisorPid = (): number => readRecord(home)?.pid ?? 0;

/** As the record has them. */
function recordedPids(): number[] {
  const children = Object.values(readRecord(home)?.children ?? {});
  return children.flatMap(({ pid }) => (pid === null ? [] : [pid])).sort();
}

/** As the kernel has them. */
const childPids = (): number[] =>
  pidsOf(home.root)
    .filter((pid) => !/supervisor\.ts|keeper\.ts|hold-stack\.ts/.test(commandLine(pid)))
    .sort();

/** Processes other than this one that belong to this test's home and have `word` in their command line. */
function pidsOf(word: string): number[] {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.filter((pid) => {
    const command = commandLine(pid);
    return pid !== process.pid && command.includes(word) && command.includes(home.root);
  });
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // It ended between two looks.
  }
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const start = performance.now();
  while (!isSo()) {
    if (performance.now() - start > WITHIN_MS) assert.fail(`not within ${WITHIN_MS} ms: ${what}`);
    await sleep(50); // Each look reads what all processes were started with.
  }
}
