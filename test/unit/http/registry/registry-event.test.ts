import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventDoor } from '../../../../lib/http/registry/registry-event.ts';

const httpApi = (more: object = {}, stage = '$default') => ({
  version: '2.0',
  routeKey: 'GET /v2/{proxy+}',
  rawPath: '/v2/library/alpine/manifests/latest',
  rawQueryString: 'ns=docker.io',
  headers: { accept: 'application/json', authorization: 'Basic eDp5' },
  requestContext: { stage, http: { method: 'GET', path: '/v2/library/alpine/manifests/latest' } },
  isBase64Encoded: false,
  ...more,
});
/** As AWS documents it for a target group with and without multi-value headers. */
const alb = (more: object = {}) => ({
  requestContext: { elb: { targetGroupArn: 'arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/x/1' } },
  httpMethod: 'HEAD',
  path: '/v2/library/alpine/manifests/latest',
  body: '',
  isBase64Encoded: false,
  ...more,
});
const BYTES = Uint8Array.from([0, 255, 128, 10]);

describe('an HTTP API', () => {
  test('gives method, path, query and headers', () => {
    const { request } = eventDoor(httpApi());
    assert.deepEqual(
      [request.method, request.path, request.query, request.header('Authorization'), request.header('range')],
      ['GET', '/v2/library/alpine/manifests/latest', 'ns=docker.io', 'Basic eDp5', undefined],
    );
  });
  test('has the name of a stage before its paths, which is no part of them', () => {
    const rawPath = '/prod/v2/prod/app/tags/list';
    assert.equal(eventDoor(httpApi({ rawPath }, 'prod')).request.path, '/v2/prod/app/tags/list');
  });
  test('carries bytes, and no body where there is none', () => {
    const door = eventDoor(httpApi());
    assert.deepEqual(door.answer({ status: 200, headers: { etag: 'x' }, body: BYTES }), {
      statusCode: 200,
      headers: { etag: 'x' },
      body: 'AP+ACg==',
      isBase64Encoded: true,
    });
    assert.deepEqual(door.answer({ status: 307, headers: { location: 'https://x' } }), {
      statusCode: 307,
      headers: { location: 'https://x' },
    });
    // With the rest of the answer it must stay below 6 MB.
    assert.ok((door.limits.bodyBytes * 4) / 3 < 6_000_000);
    assert.ok(door.limits.bodyBytes >= 4 * 1024 * 1024, 'the least that the specification asks for');
  });
});

describe('a load balancer', () => {
  test('gives single values', () => {
    const { request } = eventDoor(
      alb({ headers: { accept: 'a/b' }, queryStringParameters: { ns: 'ghcr.io', last: 'a%2Fb' } }),
    );
    assert.deepEqual(
      [request.method, request.path, request.query, request.header('Accept')],
      ['HEAD', '/v2/library/alpine/manifests/latest', 'ns=ghcr.io&last=a%2Fb', 'a/b'],
    );
  });
  test('gives and takes lists where they are switched on; a header that comes twice is none', () => {
    const door = eventDoor(
      alb({
        multiValueHeaders: { accept: ['a/b', 'c/d'], authorization: ['Basic a', 'Basic b'] },
        multiValueQueryStringParameters: { ns: ['a', 'b'] },
      }),
    );
    assert.deepEqual(
      [door.request.query, door.request.header('accept'), door.request.header('authorization')],
      ['ns=a&ns=b', 'a/b, c/d', undefined],
    );
    assert.deepEqual(door.answer({ status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }), {
      statusCode: 401,
      statusDescription: '401 Unauthorized',
      multiValueHeaders: { 'www-authenticate': ['Basic realm="x"'] },
      isBase64Encoded: false,
    });
  });
  test('carries one megabyte', () => {
    const door = eventDoor(alb({ headers: {} }));
    assert.ok((door.limits.bodyBytes * 4) / 3 < 1_000_000);
    assert.deepEqual(door.answer({ status: 200, headers: {}, body: BYTES }), {
      statusCode: 200,
      statusDescription: '200 OK',
      headers: {},
      isBase64Encoded: true,
      body: 'AP+ACg==',
    });
  });
});

test('anything else is no door', () => {
  for (const event of [null, {}, { version: '2.0' }, { requestContext: {} }, 'x']) {
    assert.throws(() => eventDoor(event), /expected a request of an HTTP API/);
  }
});
