import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type LocalEndpoint, openEndpoint } from '../../../infra/local/app/endpoint.ts';
import { type GatewayEvent, parseLocalCaller } from '../../../infra/local/app/gateway.ts';
import { startToys, type ToyFunctions } from '../../support/toy-functions.ts';

/** Answers with the event itself, or with what the event's body says. */
const ECHO = `
export async function handler(event) {
  const text = event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString('latin1') : event.body;
  const wanted = event.headers['x-answer'] === undefined ? undefined : JSON.parse(event.headers['x-answer']);
  if (wanted?.fail) throw new Error('failed');
  if (wanted?.sleepMs) await new Promise((resolve) => setTimeout(resolve, wanted.sleepMs));
  return wanted?.result ?? { ...event, bodyText: text };
}`;
const CALLER = 'arn:aws:iam::123456789012:user/somebody';

type Echo = GatewayEvent & { readonly bodyText?: string };

describe('the door', { timeout: 300_000 }, () => {
  let toys: ToyFunctions;
  let door: LocalEndpoint;
  before(async () => {
    toys = await startToys({ echo: { source: ECHO, concurrency: 1 } });
    door = await openEndpoint({
      port: 0,
      routes: [
        { method: 'ANY', path: '/v1/things/{name}', functionName: 'echo' },
        { method: 'POST', path: '/v1/things', functionName: 'echo' },
      ],
      functions: toys.functions,
      caller: parseLocalCaller(CALLER),
      control: (method, path) =>
        path === '/_local/here' ? { status: 200, headers: {}, body: Buffer.from(method) } : undefined,
    });
  });
  after(async () => {
    await door.close();
    await toys[Symbol.asyncDispose]();
  });

  const answer = (wanted: object, path = '/v1/things/a', init: RequestInit = {}): Promise<Response> =>
    fetch(`${door.origin}${path}`, { ...init, headers: { 'x-answer': JSON.stringify(wanted) } });
  const echo = async (path: string, init: RequestInit = {}): Promise<Echo> =>
    (await (await fetch(`${door.origin}${path}`, init)).json()) as Echo;

  test('a request becomes an event of payload format 2.0', async () => {
    const event = await echo('/v1/things/a%20b?x=1&y=%2F&x=2', {
      method: 'PUT',
      headers: { 'X-Some': 'One', cookie: 'a=1; b=2', 'content-type': 'application/json; charset=utf-8' },
      body: '{"ü":1}',
    });
    assert.equal(event.version, '2.0');
    assert.deepEqual([event.rawPath, event.rawQueryString], ['/v1/things/a b', 'x=1&y=%2F&x=2']);
    assert.deepEqual(event.queryStringParameters, { x: '1,2', y: '/' });
    assert.deepEqual(event.pathParameters, { name: 'a b' });
    assert.deepEqual(event.cookies, ['a=1', 'b=2']);
    assert.deepEqual([event.headers['x-some'], event.headers.cookie], ['One', undefined]);
    assert.deepEqual([event.body, event.isBase64Encoded], ['{"ü":1}', false]);
    const { http, stage, routeKey, authorizer, accountId, time } = event.requestContext;
    assert.deepEqual([http.method, http.path, http.protocol], ['PUT', '/v1/things/a b', 'HTTP/1.1']);
    assert.deepEqual([stage, routeKey, accountId], ['$default', 'ANY /v1/things/{name}', '000000000000']);
    assert.deepEqual([authorizer?.iam.userArn, authorizer?.iam.accountId], [CALLER, '123456789012']);
    assert.match(time, /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/);
  });

  test('what is no text comes as Base64, and nothing as nothing', async () => {
    const binary = await echo('/v1/things', { method: 'POST', body: new Uint8Array([0, 255]) });
    assert.deepEqual([binary.body, binary.isBase64Encoded, binary.bodyText], ['AP8=', true, '\u0000ÿ']);
    const empty = await echo('/v1/things', { method: 'POST' });
    assert.deepEqual([empty.body, empty.isBase64Encoded, empty.queryStringParameters], [undefined, false, undefined]);
  });

  test('a result becomes an answer; HEAD and 204 have no body', async () => {
    const result = { statusCode: 201, headers: { 'X-A': 'b' }, cookies: ['s=1', 't=2'], body: 'made' };
    const made = await answer({ result });
    assert.deepEqual([made.status, made.headers.get('x-a'), await made.text()], [201, 'b', 'made']);
    assert.deepEqual(made.headers.getSetCookie(), ['s=1', 't=2']);
    const head = await answer({ result }, '/v1/things/a', { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [201, '4', '']);
    const stated = { statusCode: 200, headers: { 'Content-Length': '1234567' } };
    const blob = await answer({ result: stated }, '/v1/things/a', { method: 'HEAD' });
    assert.deepEqual([blob.headers.get('content-length'), await blob.text()], ['1234567', '']);
    const wrong = await answer({ result: { ...stated, body: 'made' } });
    assert.deepEqual([wrong.headers.get('content-length'), await wrong.text()], ['4', 'made']);
    const none = await answer({ result: { statusCode: 204 } });
    assert.deepEqual([none.status, none.headers.get('content-type'), await none.text()], [204, null, '']);
  });

  test('API Gateway’s own answers', async () => {
    const said = async (response: Response): Promise<readonly [number, string]> => [
      response.status,
      await response.text(),
    ];
    assert.deepEqual(await said(await answer({}, '/v1/things/a/b')), [404, '{"message":"Not Found"}']);
    assert.deepEqual(await said(await answer({ fail: true })), [500, '{"message":"Internal Server Error"}']);
    assert.deepEqual(await said(await answer({ result: { statusCode: 'x' } })), [
      500,
      '{"message":"Internal Server Error"}',
    ]);
    const busy = answer({ sleepMs: 500 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(await said(await answer({})), [503, '{"message":"Service Unavailable"}']);
    assert.equal((await busy).status, 200);
    for (const bytes of [10 * 1024 * 1024 + 1, 7_000_000]) {
      const response = await fetch(`${door.origin}/v1/things`, { method: 'POST', body: 'x'.repeat(bytes) });
      assert.deepEqual(await said(response), [413, '{"message":"Request Entity Too Large"}']);
    }
  });

  test('a body without an end is answered, and the connection ends', async () => {
    for (const [path, status] of [
      ['/v1/things', 413],
      ['/_local/here', 200],
      ['/nowhere', 404],
    ] as const) {
      const asked = request(`${door.origin}${path}`, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } });
      asked.on('error', () => undefined);
      const more = (): void => {
        while (!asked.destroyed && asked.write(Buffer.alloc(64 * 1024)));
      };
      asked.on('drain', more);
      more();
      const closed = new Promise((resolve) => asked.once('close', resolve));
      const response = await new Promise<IncomingMessage>((resolve) => asked.once('response', resolve));
      assert.deepEqual([response.statusCode, response.headers.connection], [status, 'close'], path);
      response.resume();
      await closed;
    }
  });

  test('pages of other sites stay outside, names that lead here too', async () => {
    for (const [name, value] of [
      ['origin', 'https://evil.example.test'],
      ['origin', 'null'],
    ] as const) {
      assert.equal((await fetch(`${door.origin}/v1/things/a`, { headers: { [name]: value } })).status, 403);
    }
    assert.equal(
      (await fetch(`${door.origin}/v1/things/a`, { headers: { origin: 'http://localhost:3000' } })).status,
      200,
    );
    assert.equal(await (await fetch(`${door.origin}/_local/here`)).text(), 'GET');
    assert.equal((await fetch(`${door.origin}/_local/there`)).status, 404);
  });

  test('a port that is taken is told', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const options = {
      routes: [],
      functions: toys.functions,
      caller: parseLocalCaller(CALLER),
      control: () => undefined,
    };
    await assert.rejects(openEndpoint({ ...options, port }), new RegExp(`port ${port} of 127.0.0.1 is taken`));
    other.close();
  });
});
