import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { UpstreamRefusedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';
import { blobAnswer, when } from '../../support/upstream/upstream.ts';
import { addBlob, addManifest, openRepository, readBlob, soon, tagged, upstreamForTest } from './client-under-test.ts';

test('https with a CA of the configuration; without it the certificate is refused at once', async () => {
  const tls = selfSigned('127.0.0.1', 'registry.example.test');
  const upstream = await upstreamForTest({ tls });
  const { descriptor } = addManifest(upstream);
  const trusting = await openRepository(upstream.origin, { settings: { ca: tls.cert } });
  assert.equal((await trusting.resolve(tagged(), soon())).digest, descriptor.digest);
  const byName = await openRepository(`https://registry.example.test:${upstream.port}`, {
    settings: { ca: tls.cert },
    names: { 'registry.example.test': ['127.0.0.1'] },
  });
  assert.equal((await byName.resolve(tagged(), soon())).digest, descriptor.digest);
  const doubting = await openRepository(upstream.origin);
  await assert.rejects(doubting.resolve(tagged(), soon()), (error) => {
    return error instanceof UpstreamRefusedError && /certificate.*"ca"/.test(error.message);
  });
  const wrongName = await openRepository(`https://other.example.test:${upstream.port}`, {
    settings: { ca: tls.cert },
    names: { 'other.example.test': ['127.0.0.1'] },
  });
  await assert.rejects(wrongName.resolve(tagged(), soon()), UpstreamRefusedError);
  assert.equal(doubting.requests.total + wrongName.requests.total, 2);
});

test('https to a registry that speaks plain HTTP is refused at once, and the message says what to write', async () => {
  const upstream = await upstreamForTest();
  const host = `127.0.0.1:${upstream.port}`;
  const repository = await openRepository(`https://${host}`);
  await assert.rejects(repository.resolve(tagged(), soon()), (error) => {
    return (
      error instanceof UpstreamRefusedError &&
      error.message.startsWith(`${host} does not speak TLS;`) &&
      error.message.includes(`"endpoint: http://${host}"`)
    );
  });
  assert.equal(repository.requests.total, 1);
});

test('names that do not resolve and servers that hang in the handshake are unavailable', async () => {
  const nowhere = await openRepository('https://registry.example.test');
  await assert.rejects(nowhere.resolve(tagged(), soon()), UpstreamUnavailableError);
  // Accepts, and says nothing.
  const silent = createTcpServer();
  const sockets = new Set<Socket>();
  silent.on('connection', (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  after(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const { port } = silent.address() as AddressInfo;
  const hanging = await openRepository(`https://127.0.0.1:${port}`, { limits: { connectTimeoutMs: 200, attempts: 1 } });
  await assert.rejects(hanging.resolve(tagged(), soon()), (error) => {
    return error instanceof UpstreamUnavailableError && error.timedOut;
  });
});

test('an endpoint with a path is a prefix', async () => {
  const upstream = await upstreamForTest();
  upstream.fault(when({}, { status: 404 }));
  const repository = await openRepository(`${upstream.origin}/artifactory/docker/`);
  await assert.rejects(repository.resolve(tagged(), soon()));
  assert.equal(upstream.requests[0]?.path, '/artifactory/docker/v2/team/app/manifests/v1');
});

/** A proxy that tunnels and forwards, and remembers what it was asked for. */
async function startProxy(): Promise<{ url: URL; asked: string[]; server: Server }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method ?? ''} ${request.url ?? ''} ${request.headers['proxy-authorization'] ?? ''}`.trim());
    const target = new URL(request.url ?? '');
    void fetch(target, { method: request.method ?? 'GET' }).then(async (answer) => {
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
  });
  const sockets = new Set<Socket>();
  server.on('connect', (request, socket: Socket) => {
    asked.push(`CONNECT ${request.url ?? ''}`);
    const [, port] = (request.url ?? '').split(':');
    const target = connect(Number(port), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    for (const end of [socket, target]) {
      sockets.add(end);
      end.on('error', () => end.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: new URL(`http://user:word@127.0.0.1:${port}`), asked, server };
}

test('a proxy tunnels https and forwards http, and private redirects are still refused', async () => {
  const proxy = await startProxy();
  const tls = selfSigned('registry.example.test');
  const secure = await upstreamForTest({ tls });
  const { descriptor } = addManifest(secure);
  const blob = addBlob(secure);
  // The proxy resolves the name, not we: our lookup knows none.
  const repository = await openRepository(`https://registry.example.test:${secure.port}`, {
    settings: { ca: tls.cert, proxy: proxy.url },
  });
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.deepEqual(proxy.asked, [`CONNECT registry.example.test:${secure.port}`]);
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '10.1.2.3']) {
    const remove = secure.fault(
      when({ kind: 'blob' }, { status: 307, headers: { location: `https://${host}:${secure.port}/x` } }),
    );
    await assert.rejects(readBlob(repository, blob), UpstreamRefusedError);
    remove();
  }
  secure.fault((request) => (request.kind === 'other' ? blobAnswer(blob.bytes, request) : undefined));
  assert.deepEqual(new Set(proxy.asked), new Set([`CONNECT registry.example.test:${secure.port}`]));

  const plain = await upstreamForTest();
  addManifest(plain);
  const forwarded = await openRepository(plain.origin, { settings: { proxy: proxy.url } });
  const manifest = await forwarded.readManifest(descriptor.digest, soon());
  assert.equal(manifest.descriptor.digest, descriptor.digest);
  assert.match(proxy.asked.at(-1) ?? '', /^GET http:\/\/127\.0\.0\.1:\d+\/v2\/team\/app\/manifests\/sha256:.* Basic /);
});

test('a proxy that is not there is unavailable, and its password is not told', async () => {
  const repository = await openRepository('https://registry.example.test', {
    settings: { proxy: new URL('http://user:s3cr3t@127.0.0.1:1') },
    limits: { attempts: 1 },
  });
  await assert.rejects(repository.resolve(tagged(), soon()), (error) => {
    return error instanceof UpstreamUnavailableError && !error.message.includes('s3cr3t');
  });
});
