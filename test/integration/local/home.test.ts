import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tryLock } from '../../../infra/local/file-lock.ts';
import {
  createHome,
  ensureCredentials,
  homeAt,
  readCredentials,
  readRecord,
  removeRecord,
  writeRecord,
  type Home,
} from '../../../infra/local/home.ts';
import { boundLog, logFile, logTail } from '../../../infra/local/logs.ts';

const FILE_LOCK = fileURLToPath(new URL('../../../infra/local/file-lock.ts', import.meta.url));
const MIB = 1024 * 1024;

describe('the home of the embedded stack', { timeout: 300_000 }, () => {
  let home: Home;
  before(() => {
    home = homeAt(mkdtempSync(join(tmpdir(), 'entrepot-home-')));
    createHome(home);
  });
  after(() => rmSync(home.root, { recursive: true }));

  test('a lock has one holder, and is free when that one lets go', () => {
    const held = tryLock(home.startingLock, 0);
    assert.ok(held !== undefined);
    assert.equal(tryLock(home.startingLock, 0), undefined);
    held[Symbol.dispose]();
    const again = tryLock(home.startingLock, 0);
    assert.ok(again !== undefined);
    again[Symbol.dispose]();
  });

  test('a lock is free when its holder is killed', async () => {
    const script = `import { tryLock } from ${JSON.stringify(FILE_LOCK)};
      globalThis.lock = tryLock(process.argv[1], 0); console.log('held'); setInterval(() => {}, 1000);`;
    const args = ['--input-type=module', '-e', script, home.supervisorLock];
    const holder = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    assert.equal(tryLock(home.supervisorLock, 0), undefined);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const lock = tryLock(home.supervisorLock, 0);
    assert.ok(lock !== undefined);
    lock[Symbol.dispose]();
  });

  test('a record reads back as written, and as nothing where it is damaged', () => {
    const child = { pid: null, port: 2 };
    const record = { pid: 1, port: 3, token: 'secret', children: { s3: child } };
    writeRecord(home, record);
    assert.deepEqual(readRecord(home), record);
    for (const damaged of ['', '{"pid": 1', '[]', '{"pid":1,"port":2,"token":"t"}', '{"pid":"1","children":{}}']) {
      writeFileSync(home.record, damaged);
      assert.equal(readRecord(home), undefined, damaged);
    }
    for (const pid of [undefined, '7', 0, -1, 1.5]) {
      writeFileSync(home.record, JSON.stringify({ ...record, children: { s3: { pid, port: 1 }, other: child } }));
      assert.deepEqual(readRecord(home), { ...record, children: {} });
    }
    removeRecord(home);
    assert.equal(readRecord(home), undefined);
  });

  test('credentials are made once; damaged ones are an error that names the file', () => {
    const made = ensureCredentials(home);
    assert.deepEqual(ensureCredentials(home), made);
    assert.ok(made.secretAccessKey.length >= 40);
    writeFileSync(home.credentials, '{}');
    assert.throws(() => readCredentials(home), /credentials\.json/);
  });

  test('a log that grew too large is moved aside, and its writer goes on', () => {
    const descriptor = openSync(logFile(home.logs, 'one'), 'a');
    writeSync(descriptor, 'x'.repeat(MIB + 1));
    boundLog(home.logs, 'one');
    writeSync(descriptor, 'after');
    assert.equal(readFileSync(logFile(home.logs, 'one'), 'utf8'), 'after');
    assert.equal(statSync(`${logFile(home.logs, 'one')}.1`).size, MIB + 1);
    assert.equal(logTail(home.logs, 'one'), 'after');
    boundLog(home.logs, 'none');
    assert.equal(logTail(home.logs, 'none'), '');
  });
});
