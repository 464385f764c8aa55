import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { homeTrouble } from '../../../infra/local/home-trouble.ts';
import { isDiskFull } from '../../../infra/local/s3/errors.ts';
import { CatalogError, DeniedError, InvalidNameError, StoreError } from '../../../lib/errors/cache-error.ts';
import { storeError } from '../../../lib/store/s3-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-home-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const systemError = (code: string, path?: string): Error =>
  Object.assign(new Error(`${code}: something`), { code, ...(path === undefined ? {} : { path }) });
const why = (error: unknown, home = folder): string | undefined => homeTrouble(home, error)?.message;

test('the disk of the home is full: its S3 says so, in whatever the failure is wrapped', () => {
  const answered = Object.assign(new Error('The disk is full.'), {
    name: 'InsufficientStorage',
    $metadata: { httpStatusCode: 507 },
  });
  const failed = storeError('put content', 's3://bucket/key', answered);
  assert.match(failed.message, /S3 answered 507 InsufficientStorage; its disk is full$/);
  for (const error of [failed, new Error('outer', { cause: failed }), answered]) {
    assert.match(why(error) ?? '', /cannot keep its state in .*: the disk is full; free some space, .* \(ENOSPC\)$/);
    assert.equal(homeTrouble(folder, error)?.name, 'ConfigError');
  }
});

test('a file of the home that may not be written says why; one elsewhere says nothing of it', () => {
  for (const code of ['ENOSPC', 'EDQUOT', 'EACCES', 'EPERM', 'EROFS', 'ENOTDIR']) {
    const file = join(folder, 's3', 'x');
    assert.match(why(systemError(code, file)) ?? '', new RegExp(`\\(${code}\\)$`));
    assert.match(why(new CatalogError('find', 'failed', systemError(code, file))) ?? '', new RegExp(`\\(${code}\\)$`));
    assert.equal(why(systemError(code, '/elsewhere/x')), undefined);
  }
  assert.equal(why(systemError('ENOENT', join(folder, 'x'))), undefined);
});

test('a home that could not be made: the folder above it is looked at', () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const vague = systemError('ENOENT', 'mkdir');
  assert.match(why(vague, join(file, 'a', 'b')) ?? '', /\(ENOTDIR\)$/);
  assert.equal(why(vague, join(folder, 'a', 'b')), undefined);
});

test('a home of somebody else', { skip: process.getuid?.() === 0 }, () => {
  const denied = mkdtempSync(join(folder, 'denied-'));
  chmodSync(denied, 0o555);
  assert.match(why(new StoreError('put', 'no answer'), join(denied, 'home')) ?? '', /\(EACCES\)$/);
});

test('failures that have another reason stay what they are', () => {
  for (const error of [
    new StoreError('put', 'no answer'),
    new TypeError('oops'),
    new InvalidNameError('bad'),
    new DeniedError('read', 'refused'),
    'a text',
  ]) {
    assert.equal(homeTrouble(folder, error), undefined);
  }
  // Whatever the disk is like: a registry's refusal is no fault of it.
  assert.equal(homeTrouble(join(folder, 'file', 'x'), new DeniedError('read', 'refused')), undefined);
});

test('the embedded S3 knows a full disk, of a file and of the database', () => {
  const [enospc, edquot] = [systemError('ENOSPC'), systemError('EDQUOT')];
  const sqlite = Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 });
  assert.deepEqual([enospc, edquot, sqlite].map(isDiskFull), [true, true, true]);
  assert.deepEqual([systemError('EACCES'), new Error('x'), undefined, null, 'x'].map(isDiskFull), [
    false,
    false,
    false,
    false,
    false,
  ]);
});
