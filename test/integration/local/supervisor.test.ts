import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, test } from 'node:test';
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

const HOLDER = fileURLToPath(new URL('hold-stack.ts', import.meta.url));
const SUPERVISOR = fileURLToPath(new URL('../../../infra/local/supervisor.ts', import.meta.url));
/** Long enough that no supervisor ends while a test still looks at it. */
const IDLE_MS = 2_000;
const WITHIN_MS = 15_000;

let home: Home;

beforeEach(() => {
  home = homeAt(mkdtempSync(join(tmpdir(), 'entrepot-home-')));
});

afterEach(async () => {
  // All of these have the home of this test in their command line.
  for (const pid of pidsOf(home.root)) process.kill(pid, 'SIGKILL');
  await until('all processes are gone', () => pidsOf(home.root).length === 0);
  rmSync(home.root, { recursive: true, force: true });
});

describe('the supervisor of the embedded stack', { timeout: 300_000 }, () => {
  test('20 processes that start at once share one stack', async () => {
    const holders = await Promise.all(Array.from({ length: 20 }, () => startHolder()));
    assert.equal(new Set(holders.map((holder) => JSON.stringify(holder.endpoints))).size, 1);
    assert.equal(pidsOf(SUPERVISOR).length, 1);
    assert.deepEqual(childPids(), recordedPids());
    await Promise.all(holders.map((holder) => holder.end()));
  });

  test('has bucket and table ready, and files for the owner alone', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeMark(stack, 'here');
    assert.equal(await readMark(stack), 'here');
    const s3 = new S3Client(s3ClientConfig(stack));
    await s3.send(new HeadBucketCommand({ Bucket: stack.bucket }));
    s3.destroy();
    for (const file of [home.credentials, home.record]) assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(home.root).mode & 0o077, 0);
  });

  test('a killed child is restarted on its port, and has what it acknowledged', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeMark(stack, 'before');
    const before = recordedPids();
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await until(
      'both children are new',
      () => recordedPids().length === 2 && !recordedPids().some((pid) => before.includes(pid)),
    );
    assert.equal(await readMark(stack), 'before');
  });

  test('a killed supervisor is replaced by whoever holds the stack; the children stay as they are', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeMark(stack, 'before');
    const [children, supervisor] = [recordedPids(), supervisorPid()];
    process.kill(supervisor, 'SIGKILL');
    await until('there is another supervisor', () => supervisorPid() !== supervisor && pidsOf(SUPERVISOR).length === 1);
    await using again = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.deepEqual(endpointsOf(again), endpointsOf(stack));
    assert.deepEqual(recordedPids(), children);
    // An adopted child is watched like an own one.
    process.kill(children[0] ?? 0, 'SIGKILL');
    await until(
      'the child is replaced',
      () => !recordedPids().includes(children[0] ?? 0) && recordedPids().length === 2,
    );
    assert.equal(await readMark(stack), 'before');
  });

  test('after everything was killed the next start finds the state', async () => {
    const holder = await startHolder();
    await writeMark(await openAndClose(), 'before');
    for (const pid of pidsOf(home.root)) process.kill(pid, 'SIGKILL');
    await holder.ended;
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.equal(await readMark(stack), 'before');
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

  test('stays while somebody holds it', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: 200 });
    const supervisor = supervisorPid();
    await sleep(1_000);
    await writeMark(stack, 'still here');
    assert.equal(supervisorPid(), supervisor);
  });

  test('never touches a stranger whose pid stands in a stale record', async () => {
    createHome(home);
    const stranger = spawn('sleep', ['60'], { stdio: 'ignore' });
    const pid = stranger.pid ?? 0;
    const command = ['dynoxide', 'serve', '--port', '1', '--db-path', home.dynamoFile];
    writeRecord(home, { pid, port: 1, token: 'stale', children: { dynamodb: { pid, port: 1, command } } });
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    await writeMark(stack, 'works');
    assert.ok(!recordedPids().includes(pid));
    assert.equal(stranger.exitCode ?? stranger.signalCode, null);
    stranger.kill();
  });

  test('shows its record again where somebody deleted it', async () => {
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    const supervisor = supervisorPid();
    removeRecord(home);
    await using again = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.deepEqual(endpointsOf(again), endpointsOf(stack));
    assert.equal(supervisorPid(), supervisor);
  });

  test('ends when its home is deleted, and leaves a new one in its place alone', async () => {
    const holder = await startHolder();
    const old = recordedPids();
    rmSync(home.root, { recursive: true });
    await using stack = await openLocalStack(home.root, { idleMs: IDLE_MS });
    assert.equal(await readMark(stack), undefined);
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

interface Holder {
  readonly process: ChildProcess;
  readonly endpoints: unknown;
  readonly ended: Promise<unknown>;
  end(): Promise<void>;
}

async function startHolder(idleMs = IDLE_MS): Promise<Holder> {
  const child = spawn(process.execPath, [HOLDER, home.root, String(idleMs)], { stdio: ['pipe', 'pipe', 'inherit'] });
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

const MARK = { pk: { S: 'mark' }, sk: { S: 'mark' } };

async function writeMark(stack: StackEndpoints, text: string): Promise<void> {
  const client = new DynamoDBClient(dynamoClientConfig(stack));
  await client.send(new PutItemCommand({ TableName: stack.table, Item: { ...MARK, text: { S: text } } }));
  client.destroy();
}

async function readMark(stack: StackEndpoints): Promise<string | undefined> {
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
    .filter((pid) => !/supervisor\.ts|hold-stack\.ts/.test(commandLine(pid)))
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
    await sleep(20);
  }
}
