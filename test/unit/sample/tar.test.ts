import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { writeTar } from '../../../infra/local/sample/tar.ts';

const LONG = `${'folder/'.repeat(15)}${'n'.repeat(90)}`;

const list = (archive: Uint8Array): string[] =>
  execFileSync('tar', ['--numeric-owner', '-tvf', '-'], { input: archive, env: { TZ: 'UTC', PATH: process.env.PATH } })
    .toString()
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+/g, ' '));

test("the system's tar lists what was written: modes, links, folders, long paths", () => {
  const archive = writeTar({
    'bin/tool': { bytes: Buffer.from('#!/bin/sh\n'), mode: 0o755 },
    'bin/sh': { symlink: 'tool' },
    'tmp/': '',
    [LONG]: 'deep',
  });
  const lines = list(archive);
  assert.ok(lines.includes('-rwxr-xr-x 0/0 10 1970-01-01 00:00 bin/tool'), lines.join('\n'));
  assert.ok(lines.includes('lrwxrwxrwx 0/0 0 1970-01-01 00:00 bin/sh -> tool'));
  assert.ok(lines.includes('drwxr-xr-x 0/0 0 1970-01-01 00:00 tmp/'));
  assert.ok(lines.includes('drwxr-xr-x 0/0 0 1970-01-01 00:00 bin/'));
  assert.ok(lines.includes(`-rw-r--r-- 0/0 4 1970-01-01 00:00 ${LONG}`));
});

test('contents come back whole, at block boundaries too', () => {
  for (const size of [0, 1, 511, 512, 513, 100_000]) {
    const bytes = Buffer.alloc(size, 'x');
    const found = execFileSync('tar', ['-xOf', '-', 'file'], { input: writeTar({ file: bytes }) });
    assert.ok(found.equals(bytes), `${size} bytes`);
  }
});

test('the order of the files given does not matter', () => {
  assert.deepEqual(writeTar({ b: '1', 'a/c': '2' }), writeTar({ 'a/c': '2', b: '1' }));
});

test('a path that a ustar header cannot hold is refused', () => {
  assert.throws(() => writeTar({ ['n'.repeat(101)]: '' }), RangeError);
  assert.throws(() => writeTar({ [`${'f'.repeat(156)}/n`]: '' }), RangeError);
  assert.throws(() => writeTar({ link: { symlink: 't'.repeat(101) } }), RangeError);
});
