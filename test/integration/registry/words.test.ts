import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DeniedError, UpstreamRefusedError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';
import { when, type Fault, type UpstreamAuth } from '../../support/upstream/upstream.ts';
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
        assert.match(error.message, /answered 200 with an HTML page: "Sign in" instead of a manifest/);
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

/** A refused login is told apart from a missing repository, and both say whose login it was and where it came from. */
describe('who is refused', () => {
  const users = { bob: 'correct horse' };
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-words-'));
  });
  after(() => rm(folder, { recursive: true }));

  async function refusedWith(auth: UpstreamAuth, entry: object | undefined, fault?: Fault): Promise<string> {
    const upstream = await upstreamForTest({ auth });
    addManifest(upstream);
    if (fault !== undefined) upstream.fault(fault);
    const dockerConfigPath = join(folder, `${upstream.port}.json`);
    const auths = entry === undefined ? {} : { [REGISTRY]: entry };
    await writeFile(dockerConfigPath, JSON.stringify({ auths }));
    const repository = await openRepository(upstream.origin, {
      settings: { credentials: { kind: 'docker' } },
      dockerConfigPath,
    });
    let message = '';
    await assert.rejects(repository.resolve(tagged(), soon()), (error: Error) => {
      assert.ok(error instanceof DeniedError, `${error.name}: ${error.message}`);
      ({ message } = error);
      return true;
    });
    assert.doesNotMatch(message, /wrong-word|refresh-me|correct horse/);
    return message;
  }
  const right = { username: 'bob', password: users.bob };
  const wrong = { username: 'bob', password: 'wrong-word' };
  const config = /user "bob" of Docker's configuration .*\.json/;

  for (const auth of [
    { kind: 'basic', users },
    { kind: 'bearer', users },
  ] as const) {
    test(`${auth.kind}: a wrong password`, async () => {
      const said = await refusedWith(auth, wrong);
      assert.match(said, /the login of user "bob" .* was refused; log in again/);
      assert.match(said, config);
    });

    test(`${auth.kind}: a login that may not read the repository`, async () => {
      const said = await refusedWith(auth, right, ({ kind, headers }) =>
        kind === 'manifest' && headers.authorization !== undefined ? { status: 403 } : undefined,
      );
      assert.match(said, /the repository does not exist there, or may not be read by user "bob"/);
      assert.match(said, config);
    });

    test(`${auth.kind}: no login at all`, async () => {
      assert.match(await refusedWith(auth, undefined), /without a login/);
    });
  }

  test('an identity token that was taken back, refused by 401 and, as OAuth2 does, by 400', async () => {
    const auth = { kind: 'bearer', refreshTokens: ['another'] } as const;
    for (const status of [401, 400]) {
      const body = Buffer.from('{"error":"invalid_grant","error_description":"refresh-me is not valid"}');
      const said = await refusedWith(auth, { identitytoken: 'refresh-me' }, when({ kind: 'token' }, { status, body }));
      assert.match(said, /the login of the identity token of Docker's configuration .* was refused/);
    }
  });
});
