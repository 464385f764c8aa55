import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';
import { httpRequest, isHttpEvent, readJsonBody } from '../../../lib/http/http-event.ts';
import { httpEvent } from '../../support/http-event.ts';

test('an event of an HTTP API is known by its form', () => {
  assert.ok(isHttpEvent(httpEvent('{}')));
  for (const event of [
    undefined,
    null,
    'x',
    [],
    {},
    { version: '2.0' },
    { version: '0', detail: {} },
    { version: '2.0', requestContext: null },
    { version: '2.0', requestContext: { http: null } },
    { version: '2.0', requestContext: { http: 'POST' } },
  ]) {
    assert.ok(!isHttpEvent(event), JSON.stringify(event));
  }
});

describe('the body', () => {
  test('is read as text and as base64', () => {
    assert.deepEqual(readJsonBody(httpEvent('{"a":"é"}')), { a: 'é' });
    const body = Buffer.from('{"a":"é"}').toString('base64');
    assert.deepEqual(readJsonBody(httpEvent(body, { isBase64Encoded: true })), { a: 'é' });
  });

  test('is JSON, whatever its Content-Type says', () => {
    for (const headers of [
      {},
      { 'Content-Type': 'application/json' },
      { 'content-type': 'application/x-www-form-urlencoded' },
    ]) {
      assert.deepEqual(readJsonBody(httpEvent('1', { headers })), 1);
    }
  });

  /** What API Gateway never sends, and a direct invocation can. */
  const halfAnEvent = (fields: object) => ({ ...httpEvent('{}'), ...fields }) as unknown as APIGatewayProxyEventV2;

  const refused: [string, APIGatewayProxyEventV2, string, RegExp][] = [
    ['a body that is no text', halfAnEvent({ body: { reference: 'alpine' } }), 'body', /is not text/],
    ['a form', httpEvent('a=1'), 'body', /not a JSON document/],
    ['nothing', httpEvent(''), 'body', /is empty/],
    ['broken JSON', httpEvent('{"reference":'), 'body', /not a JSON document/],
    ['bytes that are no UTF-8', httpEvent('Iv8i', { isBase64Encoded: true }), 'body', /not a JSON document/],
    ['too much', httpEvent(' '.repeat(256 * 1024 + 1)), 'body', /longer than 262144 bytes/],
    ['too much base64', httpEvent('A'.repeat(400_000), { isBase64Encoded: true }), 'body', /longer than 262144 bytes/],
  ];
  for (const [name, event, field, message] of refused) {
    test(`refused: ${name}`, () => {
      assert.throws(
        () => readJsonBody(event),
        (error) => error instanceof InvalidRequestError && error.field === field && message.test(error.message),
      );
    });
  }
});

describe('the request', () => {
  const within = (stage: string, rawPath: string) => {
    const event = httpEvent('');
    return httpRequest({ ...event, rawPath, requestContext: { ...event.requestContext, stage } });
  };

  test('has its path without the name of the stage', () => {
    assert.equal(within('$default', '/v1/pull').path, '/v1/pull');
    assert.equal(within('prod', '/prod/v1/pull').path, '/v1/pull');
    assert.equal(within('prod', '/v1/pull').path, '/v1/pull');
    assert.equal(within('prod', '/production/v1/pull').path, '/production/v1/pull');
    assert.equal(within('', '/v1/pull').path, '/v1/pull');
  });

  test('finds headers whatever the case of their names', () => {
    assert.equal(httpRequest(httpEvent('', { headers: { Prefer: 'wait=1' } })).header('prefer'), 'wait=1');
    assert.equal(httpRequest(httpEvent('', { headers: {} })).header('prefer'), undefined);
  });

  test('reads the query from its raw text', () => {
    const query = (rawQueryString: string) => httpRequest(httpEvent('', { rawQueryString })).query();
    assert.deepEqual(query(''), {});
    assert.deepEqual(query('reference=alpine%3A3.20%2Cx&limit=5'), { reference: 'alpine:3.20,x', limit: '5' });
    assert.throws(() => query('limit=1&limit=2'), /limit is given twice/);
    assert.throws(() => query('a'.repeat(8193)), /longer than 8192/);
    assert.deepEqual(Object.keys(query('__proto__=x')), ['__proto__']);
  });

  test('is read from what no gateway sends, too', () => {
    const event = { version: '2.0', requestContext: { http: {} } } as unknown as APIGatewayProxyEventV2;
    const request = httpRequest(event);
    assert.deepEqual([request.method, request.path, request.header('x'), request.query()], ['', '', undefined, {}]);
    assert.throws(() => request.body(), /the body is empty/);
  });
});
