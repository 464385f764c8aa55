import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { ContradictionError } from '../../../lib/doctor/check.ts';
import { askExactly, exactHeader, type ExactAnswer, type ExactCall } from '../../../lib/doctor/exact-http.ts';

const HELLO = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';

interface Asked {
  /** What went over the wire. */
  readonly sent: string;
  readonly answer: ExactAnswer;
}

/** Asks a server that sends `reply` to whatever it hears. */
async function ask(reply: string | Buffer, call: ExactCall, signal = AbortSignal.timeout(5_000)): Promise<Asked> {
  let sent = '';
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      sent += chunk.toString('latin1');
      socket.write(reply);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    return { answer: await askExactly(new URL(`http://127.0.0.1:${port}`), call, signal), sent };
  } finally {
    server.close();
  }
}

test('a path goes out as it is written, and a header line by line', async () => {
  const path = '/v2/a/../b//%2e%2e/c%2Fd/./%252F?ns=x&ns=%78';
  const { sent, answer } = await ask(HELLO, { path, headers: { accept: ['a/b', 'c/d'] } });
  assert.match(sent, /^GET \/v2\/a\/\.\.\/b\/\/%2e%2e\/c%2Fd\/\.\/%252F\?ns=x&ns=%78 HTTP\/1\.1\r\n/);
  assert.match(sent, /accept: a\/b\r\naccept: c\/d\r\n/);
  assert.deepEqual([answer.status, answer.bytes.toString()], [200, 'hello']);
});

test('a request without a body says so, whatever its method', async () => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    const { sent } = await ask(HELLO, { method, path: '/' });
    assert.match(sent, new RegExp(`^${method} / [^]*content-length: 0\r\n`));
    assert.doesNotMatch(sent, /transfer-encoding/i);
  }
});

test('an answer is given as it came', async () => {
  const gzip = Buffer.from([31, 139, 0, 255]);
  const head =
    'HTTP/1.1 307 Elsewhere\r\nLocation: /x\r\nContent-Encoding: gzip\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\n';
  const { answer } = await ask(Buffer.concat([Buffer.from(head), gzip]), { path: '/' });
  assert.deepEqual([answer.status, exactHeader(answer, 'location'), answer.bytes], [307, '/x', gzip]);
  assert.deepEqual(
    [answer.headers['x-a'], exactHeader(answer, 'x-a'), exactHeader(answer, 'x-b')],
    [['1', '2'], undefined, undefined],
  );
});

test('HEAD has the length that was told; what follows is a contradiction, and so it is behind 304', async () => {
  const { answer } = await ask('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', { method: 'HEAD', path: '/' });
  assert.deepEqual([exactHeader(answer, 'content-length'), answer.bytes.byteLength], ['5', 0]);
  await assert.rejects(ask(HELLO, { method: 'HEAD', path: '/' }), ContradictionError);
  await assert.rejects(ask('HTTP/1.1 304 Not Modified\r\n\r\nhello', { path: '/' }), ContradictionError);
});

test('an answer that does not end, or is too long, or is none, is an error', async () => {
  const soon = () => AbortSignal.timeout(200);
  await assert.rejects(ask('', { path: '/' }, soon()), { name: 'AbortError' });
  await assert.rejects(ask('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello', { path: '/' }, soon()), {
    name: 'AbortError',
  });
  await assert.rejects(ask('nonsense', { path: '/' }), { code: 'HPE_INVALID_CONSTANT' });
  const long = `HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n${'x'.repeat(9_000_000)}`;
  await assert.rejects(ask(long, { path: '/' }), /longer than 8388608 bytes/);
});
