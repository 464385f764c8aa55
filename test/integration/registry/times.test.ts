import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { UpstreamRefusedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import { addBlob, openRepository, soon, tagged, upstreamForTest } from './client-under-test.ts';

const DIGEST = `sha256:${'d'.repeat(64)}` as never;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const EVERY_MS = 40;

/** A server of raw bytes: what `answer` begins, a byte (or `again`) every 40 ms continues without end. */
async function dripping(
  answer: (path: string, origin: string) => readonly [start: string, again: string],
): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    socket.on('data', (data) => {
      const path = /^\w+ (\S+)/.exec(data.toString('latin1'))?.[1] ?? '';
      const [start, again] = answer(path, origin);
      socket.write(start);
      if (again === '') return;
      const timer = setInterval(() => (socket.destroyed ? clearInterval(timer) : socket.write(again)), EVERY_MS);
      socket.once('close', () => clearInterval(timer));
    });
  });
  const listening = Promise.withResolvers<undefined>();
  server.listen(0, '127.0.0.1', () => listening.resolve(undefined));
  await listening.promise;
  after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  const origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  return origin;
}

const headers = (length: number, type = 'application/json'): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n\r\n`;

/** Time is bounded like bytes: whatever drips ends, though no wait for a byte is long. */
describe('answers that drip', { concurrency: 8 }, () => {
  const reading = (repository: Upstream): Promise<unknown> => repository.readManifest(DIGEST, soon());
  const listing = (repository: Upstream): Promise<unknown> => repository.listTags(soon());
  const referring = (repository: Upstream): Promise<unknown> => repository.listReferrers(DIGEST, soon());
  const resolving = (repository: Upstream): Promise<unknown> => repository.resolve(tagged(), soon());
  const challenge = (origin: string): string =>
    `HTTP/1.1 401 no\r\nwww-authenticate: Bearer realm="${origin}/token"\r\ncontent-length: 0\r\n\r\n`;
  const cases: [
    string,
    (repository: Upstream) => Promise<unknown>,
    (path: string, origin: string) => readonly [string, string],
  ][] = [
    ['1xx answers', reading, () => ['', 'HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n']],
    ['1xx answers to HEAD', resolving, () => ['', 'HTTP/1.1 102 Processing\r\n\r\n']],
    ['a header', reading, () => ['HTTP/1.1 200 OK\r\nx: ', 'y']],
    ['headers', listing, () => ['HTTP/1.1 200 OK\r\n', 'x: y\r\n']],
    ['a status line', referring, () => ['HTTP/1.1 20', '0']],
    ['a manifest', reading, () => [headers(60_000, MANIFEST), ' ']],
    ['a list of tags', listing, () => [headers(60_000), ' ']],
    ['referrers', referring, () => [headers(60_000, 'application/vnd.oci.image.index.v1+json'), ' ']],
    [
      'a token',
      reading,
      (path, origin) => (path.startsWith('/token') ? [headers(60_000), ' '] : [challenge(origin), '']),
    ],
    ['an error', reading, () => ['HTTP/1.1 500 no\r\ncontent-length: 60000\r\n\r\n', ' ']],
    ['a redirect', reading, () => ['HTTP/1.1 307 x\r\nlocation: /x\r\ncontent-length: 60000\r\n\r\n', ' ']],
    [
      'chunks',
      reading,
      () => [`HTTP/1.1 200 OK\r\ncontent-type: ${MANIFEST}\r\ntransfer-encoding: chunked\r\n\r\n`, '1\r\n \r\n'],
    ],
  ];
  for (const [what, ask, answer] of cases) {
    test(`${what} without end: given up in time, for what it is`, async () => {
      const repository = await openRepository(await dripping(answer), { limits: { attempts: 1 } });
      await assert.rejects(ask(repository), (error: Error) => {
        // Led round in circles.
        if (what === 'a redirect') return error instanceof UpstreamRefusedError;
        assert.ok(error instanceof UpstreamUnavailableError, `${error.name}: ${error.message}`);
        assert.equal(error.timedOut, !['an error', 'a status line'].includes(what), error.message);
        return true;
      });
    });
  }

  test('what waits in the queue for a connection is not late: the time counts from the sending', async () => {
    const upstream = await upstreamForTest();
    const blobs = Array.from({ length: 6 }, () => addBlob(upstream, 1000));
    upstream.fault(() => ({ delayMs: 300 }));
    const repository = await openRepository(upstream.origin, {
      settings: { maxConnections: 1 },
      limits: { attempts: 1 },
    });
    const there = await Promise.all(blobs.map(({ descriptor }) => repository.hasBlob(descriptor, soon())));
    assert.deepEqual(
      there,
      blobs.map(() => true),
    );
  });
});
