import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StackCredentials } from './local-stack.ts';

/*
 * One home:
 *
 *   supervisor.lock    held by the supervisor while it runs (file-lock.ts), so that there is only one
 *   starting.lock      held by the one client that starts a supervisor
 *   supervisor.json    SupervisorRecord: pids and ports; only a hint, checked against the processes themselves
 *   credentials.json   keys of the embedded S3, made once
 *   signing-key        the key that signs passwords, made on first use (lib/access/secrets-signing-key.ts)
 *   dynamodb.sqlite    the table
 *   dynamodb-mark.json a schema for dynoxide: the table whose name only this home knows, by which its DynamoDB is recognised
 *   s3/                the bucket
 *   logs/              one bounded log for each process
 */
export interface Home {
  readonly root: string;
  readonly supervisorLock: string;
  readonly startingLock: string;
  readonly record: string;
  readonly credentials: string;
  readonly signingKey: string;
  readonly dynamoFile: string;
  readonly dynamoMark: string;
  readonly s3Root: string;
  readonly logs: string;
}

/** A server of the stack. */
export interface ChildRecord {
  /** Of the process that listens on the port. Null until it is known. */
  readonly pid: number | null;
  readonly port: number;
}

export type ChildName = 'dynamodb' | 's3';

export interface SupervisorRecord {
  readonly pid: number;
  /** Loopback port on which clients hold their connections. */
  readonly port: number;
  /** The first line of a client. Anyone who can read the home may use the stack. */
  readonly token: string;
  readonly children: Readonly<Partial<Record<ChildName, ChildRecord>>>;
}

/** The files of the home in `root`. */
export function homeAt(root: string): Home {
  return {
    root,
    supervisorLock: join(root, 'supervisor.lock'),
    startingLock: join(root, 'starting.lock'),
    record: join(root, 'supervisor.json'),
    credentials: join(root, 'credentials.json'),
    signingKey: join(root, 'signing-key'),
    dynamoFile: join(root, 'dynamodb.sqlite'),
    dynamoMark: join(root, 'dynamodb-mark.json'),
    s3Root: join(root, 's3'),
    logs: join(root, 'logs'),
  };
}

/** Makes the folders of the home, for their owner alone. */
export function createHome(home: Home): void {
  for (const folder of [home.root, home.s3Root, home.logs]) mkdirSync(folder, { recursive: true, mode: 0o700 });
}

/** The record of the last supervisor; undefined if it is missing or unreadable. */
export function readRecord(home: Home): SupervisorRecord | undefined {
  const record = readJson(home.record);
  if (!isObject(record) || !isObject(record.children)) return undefined;
  const { pid, port, token, children } = record;
  if (typeof pid !== 'number' || typeof port !== 'number' || typeof token !== 'string') return undefined;
  const child = (name: ChildName): Partial<Record<ChildName, ChildRecord>> =>
    isChildRecord(children[name]) ? { [name]: children[name] } : {};
  return { pid, port, token, children: { ...child('dynamodb'), ...child('s3') } };
}

/** Replaces the record as a whole: readers see the old or the new one. Synchronous, so that no kill falls between a spawn and its record. */
export function writeRecord(home: Home, record: SupervisorRecord): void {
  writePrivate(home.record, record);
}

export function removeRecord(home: Home): void {
  rmSync(home.record, { force: true });
}

/** The keys of this home's S3; made on first use. Called by the supervisor, of which there is one; clients read them afterwards. */
export function ensureCredentials(home: Home): StackCredentials {
  if (!existsSync(home.credentials)) {
    writePrivate(home.credentials, {
      accessKeyId: `AKIALOCAL${randomBytes(6).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString('base64url'),
    });
  }
  return readCredentials(home);
}

/** @throws Error naming the file if it is missing or damaged. */
export function readCredentials(home: Home): StackCredentials {
  const credentials = findCredentials(home);
  if (credentials !== undefined) return credentials;
  throw new Error(`${home.credentials} holds no accessKeyId and secretAccessKey; delete it to have new keys made`);
}

/** The keys of this home's S3; undefined if they are missing or unreadable. */
export function findCredentials(home: Home): StackCredentials | undefined {
  const value = readJson(home.credentials);
  if (!isObject(value) || typeof value.accessKeyId !== 'string' || typeof value.secretAccessKey !== 'string')
    return undefined;
  return { accessKeyId: value.accessKeyId, secretAccessKey: value.secretAccessKey };
}

/** Replaces the file as a whole, for its owner alone. */
export function writePrivate(file: string, value: unknown): void {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(value, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(draft, file);
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function isChildRecord(value: unknown): value is ChildRecord {
  return isObject(value) && typeof value.port === 'number' && (value.pid === null || isPid(value.pid));
}

/** 0 and negative numbers name process groups. */
const isPid = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
