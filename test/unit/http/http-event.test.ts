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

  test('may have any JSON type', () => {
    for (const type of ['application/json', 'Application/JSON; charset=utf-8', 'application/vnd.x+json']) {
      assert.deepEqual(readJsonBody(httpEvent('1', { headers: { 'Content-Type': type } })), 1);
    }
  });

  const refused: [string, APIGatewayProxyEventV2, string, RegExp][] = [
    ['another method', httpEvent('{}', {}, 'PUT'), 'method', /the method is PUT; POST/],
    ['no type', httpEvent('{}', { headers: {} }), 'body', /the Content-Type is none/],
    [
      'a form',
      httpEvent('a=1', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }),
      'body',
      /send application\/json/,
    ],
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
