import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, test } from 'node:test';
import { UpstreamRefusedError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';
import { when } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  addManifest,
  openRepository,
  readBlob,
  REGISTRY,
  soon,
  tagged,
  upstreamForTest,
} from './client-under-test.ts';

/** An error says who answered (registry and address), with what status, and the first words of it. */
const page = '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>…</body></html>';
for (const [what, type, body, words] of [
  [
    'the document of registries',
    'application/json',
    '{"errors":[{"code":"DENIED","message":"not yours"}]}',
    /answered 403 \(DENIED: not yours\)/,
  ],
  [
    'its document under another type',
    'text/plain',
    '{"errors":[{"code":"DENIED","message":"not yours"}]}',
    /\(text\/plain: DENIED: not yours\)/,
  ],
  ['a message alone', 'application/json', '{"message":"rate of this address"}', /\(rate of this address\)/],
  ['an error of OAuth', 'application/json', '{"error":"invalid_scope","message":"x"}', /\(invalid_scope\)/],
  ['a page with a title', 'text/html', page, /\(an HTML page: "Sign in"\)/],
  [
    'a page without one',
    'text/html; charset=utf-8',
    '<h1>Forbidden</h1><p>by the front</p>',
    /\(an HTML page: "Forbidden by the front"\)/,
  ],
  ['text', 'text/plain', 'toomanyrequests: slow down', /\(text\/plain: toomanyrequests: slow down\)/],
  [
    'XML of storage',
    'application/xml',
    '<Error><Code>AccessDenied</Code></Error>',
    /\(application\/xml: <Error><Code>AccessDenied/,
  ],
  ['nothing', 'text/plain', '', /answered 403 \(text\/plain\)/],
  ['JSON that may hold anything', 'application/json', '{"access_token":"eyJhbGciOi"}', /answered 403: /],
] as const) {
  test(`${what} is quoted`, async () => {
    const upstream = await upstreamForTest();
    const blob = addBlob(upstream);
    upstream.fault(when({}, { status: 403, headers: { 'content-type': type }, body: Buffer.from(body) }));
    await assert.rejects(readBlob(await openRepository(upstream.origin), blob), (error: Error) => {
      assert.match(error.message, words);
      assert.match(error.message, new RegExp(`^127\\.0\\.0\\.1:${upstream.port}/v2/team/app/blobs/`));
      assert.ok(error.message.includes(`(of registry ${REGISTRY})`));
      assert.doesNotMatch(error.message, /eyJ/);
      return true;
    });
  });
}

test('a page with 200 where a manifest should be is called a page', async () => {
  for (const type of ['text/html', 'application/json', 'application/vnd.oci.image.manifest.v1+json']) {
    const upstream = await upstreamForTest();
    const { descriptor } = addManifest(upstream);
    upstream.fault(
      when(
        {},
        { status: 200, headers: { 'content-type': type, 'docker-content-digest': undefined }, body: Buffer.from(page) },
      ),
    );
    const repository = await openRepository(upstream.origin);
    for (const ask of [
      () => repository.resolve(tagged(), soon()),
      () => repository.readManifest(descriptor.digest, soon()),
    ]) {
      await assert.rejects(ask, (error: Error) => {
        assert.ok(error instanceof UpstreamRefusedError);
        assert.match(error.message, /answered 200 with an HTML page: "Sign in" where a manifest should be/);
        return true;
      });
    }
  }
});

for (const said of [
  'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n',
  'HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>',
  "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nReason: You're speaking plain HTTP to an SSL-enabled server port.\n",
]) {
  test(`plain HTTP to a server that speaks TLS (${said.slice(-30).trim()}) is said as such`, async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(said));
    });
    const listening = Promise.withResolvers<undefined>();
    server.listen(0, '127.0.0.1', () => listening.resolve(undefined));
    await listening.promise;
    after(() => server.close());
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const repository = await openRepository(`http://127.0.0.1:${port}`);
    await assert.rejects(
      repository.resolve(tagged(), soon()),
      new RegExp(`speaks TLS.*endpoint: https://127\\.0\\.0\\.1:${port}`),
    );
  });
}

test('a TLS server that answers by an alert, and TLS to one that speaks plain HTTP, are said as such', async () => {
  const tls = selfSigned('127.0.0.1');
  const secure = await upstreamForTest({ tls });
  const plainly = await openRepository(secure.origin.replace('https:', 'http:'));
  await assert.rejects(plainly.resolve(tagged(), soon()), /if it speaks TLS, write "endpoint: https:/);
  const open = await upstreamForTest();
  const securely = await openRepository(open.origin.replace('http:', 'https:'));
  await assert.rejects(securely.resolve(tagged(), soon()), /does not speak TLS.*endpoint: http:/);
});
