import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { dynoxideCommand } from './dynoxide.ts';
import { tryLock } from './file-lock.ts';
import {
  createHome,
  ensureCredentials,
  homeAt,
  readRecord,
  removeRecord,
  writeRecord,
  type ChildName,
  type ChildRecord,
  type Home,
  type SupervisorRecord,
} from './home.ts';
import { stackAt } from './local-stack.ts';
import { boundLog } from './logs.ts';
import { serveSessions, type ReadyPorts } from './sessions.ts';
import { s3Command, s3Environment } from './s3-process.ts';
import { superviseChild, type ChildSpec, type SupervisedChild } from './supervised-child.ts';

/** How long a new supervisor waits for one that is on its way out. */
const LOCK_WAIT_MS = 10_000;
const PREPARE_WITHIN_MS = 15_000;
const MAX_TICK_MS = 1_000;
/** How long an unused stack lives. */
const DEFAULT_IDLE_MS = 30_000;

/**
 * Runs the stack of one home until nobody has used it for `idleMs`, or until a signal. At most one supervisor serves a home, however
 * many are started: the others end without doing anything.
 *
 * What a killed one left is taken over: its children by their command lines, its files as they are.
 *
 * @throws Error if the stack cannot be started, or a child of it cannot be kept running.
 */
export async function supervise(root: string, idleMs: number): Promise<void> {
  const home = homeAt(root);
  createHome(home);
  using lock = tryLock(home.supervisorLock, LOCK_WAIT_MS);
  if (lock === undefined) return;
  const stopping = Promise.withResolvers<undefined>();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.once(signal, () => stopping.resolve(undefined));

  const ports = Promise.withResolvers<ReadyPorts>();
  const token = randomBytes(24).toString('base64url');
  const sessions = await serveSessions(token, ports.promise);
  const record = keepRecord(home, { pid: process.pid, port: sessions.port, token });
  const children = startChildren(home, record, stopping.reject);
  const prepared = Promise.all(children).then(([dynamodb, s3]) =>
    prepare(home, { dynamodb: dynamodb.port, s3: s3.port }),
  );
  prepared.then(ports.resolve, ports.reject);
  ports.promise.catch(stopping.reject); // Clients see the end of their connection, and find the reason in the log.

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
    const started = (await Promise.allSettled(children)).filter((child) => child.status === 'fulfilled');
    await Promise.all(started.map((child) => child.value.stop()));
    record.remove(); // Last: a kill before this line leaves what the next start needs to find the children.
  }
}

interface KeptRecord {
  /** Children of the supervisor before this one. */
  readonly earlier: SupervisorRecord['children'];
  update(name: ChildName, child: ChildRecord): void;
  /** Writes it again where somebody removed it: without it no client would find us. */
  restore(): void;
  remove(): void;
  /** False once the folder was deleted, even if there is a new one in its place. */
  isHomeOurs(): boolean;
}

function keepRecord(home: Home, self: Omit<SupervisorRecord, 'children'>): KeptRecord {
  const inode = statSync(home.supervisorLock).ino;
  const isHomeOurs = (): boolean => statSync(home.supervisorLock, { throwIfNoEntry: false })?.ino === inode;
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

function startChildren(
  home: Home,
  record: KeptRecord,
  failed: (error: Error) => void,
): [Promise<SupervisedChild>, Promise<SupervisedChild>] {
  const { logs } = home;
  const start = (name: ChildName, spec: Pick<ChildSpec, 'command' | 'environment'>): Promise<SupervisedChild> =>
    superviseChild(
      { name, logs, failed, record: (child) => record.update(name, child), ...spec },
      record.earlier[name],
    );
  return [
    start('dynamodb', { command: (port) => dynoxideCommand(port, home.dynamoFile), environment: {} }),
    start('s3', {
      command: (port) => s3Command(port, home.s3Root),
      environment: s3Environment(ensureCredentials(home)),
    }),
  ];
}

async function prepare(home: Home, ports: ReadyPorts): Promise<ReadyPorts> {
  // Imported here: the SDK takes longer to load than the children to start, and runs beside them this way.
  const { prepareStack } = await import('./prepare.ts');
  await prepareStack(stackAt(ports, ensureCredentials(home), home.signingKey), AbortSignal.timeout(PREPARE_WITHIN_MS));
  return ports;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { home: { type: 'string' }, 'idle-ms': { type: 'string' } } });
  if (values.home === undefined) throw new Error('usage: supervisor.ts --home FOLDER [--idle-ms MILLISECONDS]');
  try {
    await supervise(values.home, Number(values['idle-ms'] ?? DEFAULT_IDLE_MS));
  } catch (error) {
    console.error(new Date().toISOString(), error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
