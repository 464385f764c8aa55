import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatewayAnswer, INTERNAL_ERROR } from '../../../infra/local/app/gateway.ts';

test('a result with a status code says everything itself', () => {
  const { status, headers, body } = gatewayAnswer({
    statusCode: 202,
    headers: { Location: '/v1/pulls/1', 'Content-Length': 7, 'X-Count': 3 },
    cookies: ['a=1', 'b=2'],
    body: Buffer.from([0, 255]).toString('base64'),
    isBase64Encoded: true,
  });
  assert.equal(status, 202);
  assert.deepEqual(headers, {
    location: '/v1/pulls/1',
    'x-count': '3',
    'content-type': 'text/plain;charset=UTF-8',
    'set-cookie': ['a=1', 'b=2'],
  });
  assert.deepEqual([...body], [0, 255]);
});

test('any other result is a document', () => {
  const { status, headers, body } = gatewayAnswer({ a: [1] });
  assert.deepEqual([status, headers['content-type'], body.toString()], [200, 'application/json', '{"a":[1]}']);
  assert.equal(gatewayAnswer('text').body.toString(), 'text');
  assert.equal(gatewayAnswer(null).body.toString(), 'null');
});

test('a malformed one is an internal error', () => {
  for (const result of [
    { statusCode: 'ok' },
    { statusCode: 99 },
    { statusCode: 200, body: { a: 1 } },
    { statusCode: 200, headers: 'none' },
    { statusCode: 200, cookies: 'a=1' },
  ]) {
    assert.equal(gatewayAnswer(result), INTERNAL_ERROR);
  }
});
