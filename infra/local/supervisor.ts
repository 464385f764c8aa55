import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { keptDynoxideCommand, servesMark, writeMark } from './dynoxide.ts';
import { tryLock } from './file-lock.ts';
import {
  createHome,
  ensureCredentials,
  findCredentials,
  homeAt,
  readRecord,
  removeRecord,
  writeRecord,
  type ChildName,
  type ChildRecord,
  type Home,
  type SupervisorRecord,
} from './home.ts';
import { markOf, stackAt, type StackPlaces } from './local-stack.ts';
import { boundLog } from './logs.ts';
import { serveSessions } from './sessions.ts';
import { s3Command, s3Environment } from './s3-process.ts';
import { superviseChild, type ChildSpec, type SupervisedChild } from './supervised-child.ts';

/** How long a new supervisor waits for the end of the one before. */
const LOCK_WAIT_MS = 10_000;
const PREPARE_WITHIN_MS = 30_000;
const MAX_TICK_MS = 1_000;
/** How long an unused stack runs. */
const DEFAULT_IDLE_MS = 30_000;

/**
 * Runs the stack of one home until it was unused for `idleMs`, or until a signal. Only one supervisor serves a home; others that are
 * started end at once.
 *
 * It takes over the files of a killed supervisor, and its ports once its children have ended. With `dynamodb`, the endpoint of another
 * DynamoDB, only S3 is started.
 *
 * @throws Error if the stack cannot be started, or a child of it cannot be kept running.
 */
export async function supervise(root: string, idleMs: number, dynamodb?: string): Promise<void> {
  const home = homeAt(root);
  createHome(home);
  using lock = tryLock(home.supervisorLock, LOCK_WAIT_MS);
  if (lock === undefined) return;
  const stopping = Promise.withResolvers<undefined>();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.once(signal, () => stopping.resolve(undefined));

  const places = Promise.withResolvers<StackPlaces>();
  const token = randomBytes(24).toString('base64url');
  const sessions = await serveSessions(token, places.promise);
  const record = keepRecord(home, { pid: process.pid, port: sessions.port, token });
  const children = startChildren(home, record, stopping.reject, dynamodb);
  const prepared = Promise.all([children.s3, children.dynamodb]).then(([s3, own]) =>
    prepare(home, { s3: s3.port, dynamodb: own?.port ?? dynamodb ?? '' }),
  );
  prepared.then(places.resolve, places.reject);
  places.promise.catch(stopping.reject); // Clients lose their connection; the log has the reason.

  const tick = (): void => {
    if (!record.isHomeOurs() || sessions.idleMs() >= idleMs) {
      stopping.resolve(undefined);
      return;
    }
    for (const name of ['supervisor', 'dynamodb', 's3']) boundLog(home.logs, name);
    record.restore();
  };
  const ticking = setInterval(
    () => {
      try {
        tick();
      } catch (error) {
        stopping.reject(error);
      }
    },
    Math.min(MAX_TICK_MS, idleMs / 4),
  );
  try {
    await stopping.promise;
  } finally {
    clearInterval(ticking);
    await sessions.close();
    const started = await Promise.allSettled([children.s3, children.dynamodb]);
    await Promise.all(
      started.map(async (child) => {
        if (child.status === 'fulfilled') await child.value?.stop();
      }),
    );
    record.remove(); // Last: after a kill before this line the next start finds the children by the record.
  }
}

interface KeptRecord {
  /** Children of the supervisor before this one. */
  readonly earlier: SupervisorRecord['children'];
  update(name: ChildName, child: ChildRecord): void;
  /** Writes it again if it was removed: clients find the supervisor by it. */
  restore(): void;
  remove(): void;
  /** False once the folder was deleted, even if there is a new one in its place. */
  isHomeOurs(): boolean;
}

function keepRecord(home: Home, self: Omit<SupervisorRecord, 'children'>): KeptRecord {
  const { secretAccessKey } = ensureCredentials(home);
  const isHomeOurs = (): boolean => findCredentials(home)?.secretAccessKey === secretAccessKey;
  const earlier = readRecord(home)?.children ?? {};
  let record: SupervisorRecord = { ...self, children: earlier };
  writeRecord(home, record);
  return {
    earlier,
    isHomeOurs,
    update: (name, child) => {
      record = { ...record, children: { ...record.children, [name]: child } };
      writeRecord(home, record);
    },
    restore: () => {
      if (readRecord(home)?.token !== self.token) writeRecord(home, record);
    },
    remove: () => {
      if (isHomeOurs()) removeRecord(home);
    },
  };
}

interface Children {
  readonly s3: Promise<SupervisedChild>;
  /** Undefined where it runs elsewhere. */
  readonly dynamodb: Promise<SupervisedChild | undefined>;
}

function startChildren(
  home: Home,
  record: KeptRecord,
  failed: (error: Error) => void,
  elsewhere: string | undefined,
): Children {
  const { logs } = home;
  const credentials = ensureCredentials(home);
  const mark = markOf(credentials);
  const start = (
    name: ChildName,
    spec: Pick<ChildSpec, 'command' | 'environment' | 'isOurs'>,
  ): Promise<SupervisedChild> =>
    superviseChild(
      { name, logs, failed, record: (child) => record.update(name, child), ...spec },
      record.earlier[name],
    );
  const startDynamo = (): Promise<SupervisedChild> => {
    writeMark(home.dynamoMark, mark);
    return start('dynamodb', {
      command: (port) => keptDynoxideCommand(port, home),
      isOurs: (port) => servesMark(port, mark),
    });
  };
  return {
    s3: start('s3', { command: (port) => s3Command(port, home.s3Root), environment: s3Environment(credentials) }),
    dynamodb: elsewhere === undefined ? startDynamo() : Promise.resolve(undefined),
  };
}

async function prepare(home: Home, places: StackPlaces): Promise<StackPlaces> {
  // Imported here: the SDK loads while the children start.
  const { prepareStack } = await import('./prepare.ts');
  await prepareStack(stackAt(places, ensureCredentials(home), home.signingKey), AbortSignal.timeout(PREPARE_WITHIN_MS));
  return places;
}

if (import.meta.main) {
  const options = { home: { type: 'string' }, 'idle-ms': { type: 'string' }, dynamodb: { type: 'string' } } as const;
  const { values } = parseArgs({ options });
  if (values.home === undefined)
    throw new Error('usage: supervisor.ts --home FOLDER [--idle-ms MILLISECONDS] [--dynamodb ENDPOINT]');
  try {
    await supervise(values.home, Number(values['idle-ms'] ?? DEFAULT_IDLE_MS), values.dynamodb);
  } catch (error) {
    console.error(new Date().toISOString(), error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
