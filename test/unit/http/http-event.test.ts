import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';
import { isHttpEvent, readJsonBody } from '../../../lib/http/http-event.ts';
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

  test('may be posted through a stage with a name', () => {
    const event = httpEvent('1', { rawPath: '/prod/v1/pull' });
    assert.throws(() => readJsonBody(event), InvalidRequestError);
    assert.equal(readJsonBody({ ...event, requestContext: { ...event.requestContext, stage: 'prod' } }), 1);
  });

  /** What API Gateway never sends, and a direct invocation can. */
  const halfAnEvent = (fields: object) => ({ ...httpEvent('{}'), ...fields }) as unknown as APIGatewayProxyEventV2;

  const refused: [string, APIGatewayProxyEventV2, string, RegExp][] = [
    ['another method', httpEvent('{}', {}, 'PUT'), 'method', /the method is PUT; POST/],
    [
      'another path',
      httpEvent('{}', { rawPath: '/v1/delete' }),
      'path',
      /the path is \/v1\/delete; POST to \/v1\/pull/,
    ],
    ['no method', halfAnEvent({ requestContext: { http: {} } }), 'method', /the method is missing/],
    ['no path', halfAnEvent({ rawPath: undefined }), 'path', /the path is missing/],
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
