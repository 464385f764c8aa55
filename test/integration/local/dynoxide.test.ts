import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dynoxideBinary, servesMark } from '../../../infra/local/dynoxide.ts';
import { freePort } from '../../../infra/local/processes.ts';

const MARK = 'home-0123456789abcdef0123456789abcdef';

describe('the binary of the embedded DynamoDB', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'entrepot-path-'));
    for (const file of ['dynoxide', 'dynoxide.exe']) writeFileSync(join(folder, file), '');
  });
  after(() => rmSync(folder, { recursive: true }));

  const installed = (file: string): string => join('/packages', file);
  const missing = (file: string): never => {
    throw new Error(`Cannot find module '${file}'`);
  };
  const path = (...folders: string[]): string => folders.join(delimiter);

  test('is that of the package for the machine, where it is installed', () => {
    for (const [platform, arch, file] of [
      ['linux', 'x64', 'linux-x64/dynoxide'],
      ['linux', 'arm64', 'linux-arm64/dynoxide'],
      ['darwin', 'x64', 'darwin-x64/dynoxide'],
      ['darwin', 'arm64', 'darwin-arm64/dynoxide'],
      ['win32', 'x64', 'win32-x64/dynoxide.exe'],
    ] as const) {
      const binary = dynoxideBinary({ platform, arch, path: folder, resolve: installed });
      assert.equal(binary, join('/packages/@dynoxide', file));
    }
  });

  test('is the first on the PATH, where it is not', () => {
    const place = path('', join(folder, 'none'), folder, '/other');
    for (const [platform, file] of [
      ['linux', 'dynoxide'],
      ['win32', 'dynoxide.exe'],
    ] as const) {
      assert.equal(dynoxideBinary({ platform, arch: 'any', path: place, resolve: missing }), join(folder, file));
    }
  });

  test('is what to install, or which endpoint to name, where there is neither: one sentence', () => {
    for (const place of ['', path('', join(folder, 'none'))]) {
      assert.throws(
        () => dynoxideBinary({ platform: 'sunos', arch: 'x64', path: place, resolve: missing }),
        /^Error: [^.]*@dynoxide\/sunos-x64[^.]*PATH[^.]*AWS_ENDPOINT_URL_DYNAMODB$/,
      );
    }
  });
});

describe('whether the DynamoDB on a port is that of the home', { timeout: 20_000 }, () => {
  async function asked(answer: RequestListener): Promise<boolean> {
    const server = createServer(answer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      return await servesMark((server.address() as AddressInfo).port, MARK);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  }

  test('it is where the mark is the name of a table', async () => {
    assert.ok(await asked((_request, response) => response.end(JSON.stringify({ TableNames: ['entrepot', MARK] }))));
  });

  test('it is not where anything else answers, or nothing', async () => {
    for (const body of [
      `{"TableNames":["entrepot","${MARK}0"]}`,
      `{"TableNames":"${MARK}"}`,
      `{"Tables":["${MARK}"]}`,
      `["${MARK}"]`,
      `"${MARK}"`,
      'null',
      '',
      MARK,
      JSON.stringify({ TableNames: [MARK], more: 'x'.repeat(70_000) }),
    ]) {
      assert.equal(await asked((_request, response) => response.end(body)), false, body.slice(0, 80));
    }
    const endless: RequestListener = (_request, response) => void response.write('{');
    assert.equal(await asked(endless), false, 'an answer without an end');
    assert.equal(await asked(() => undefined), false, 'no answer');
    assert.equal(await asked((request) => request.socket.destroy()), false, 'a broken connection');
    assert.equal(await servesMark(await freePort(), MARK), false, 'nobody there');
  });

  test('it learns nothing of the mark', async () => {
    let got = '';
    await asked((request, response) => {
      got = JSON.stringify([request.url, request.headers]);
      request.on('data', (chunk: Buffer) => (got += chunk.toString())).on('end', () => response.end('{}'));
    });
    assert.ok(got.includes('ListTables'));
    assert.ok(!got.includes(MARK));
  });
});
