import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeOf, ROUTES } from '../../../../lib/http/control/routes.ts';
import { HttpError } from '../../../../lib/http/problem.ts';

test('each route is found by its method and path', () => {
  for (const { operation, method, path } of ROUTES) {
    const found = routeOf(method, path.replace('{id}', 'some-id'));
    assert.deepEqual(found, { operation, name: `${method} ${path}`, id: path.includes('{id}') ? 'some-id' : '' });
  }
});

test('other spellings of a path are other paths', () => {
  const elsewhere = [
    '',
    '/',
    '/v1',
    '/v1/pull/',
    '//v1/pull',
    '/V1/pull',
    '/v1/./pull',
    '/v1/x/../pull',
    '/v1/%70ull',
    '/v1/pull?x',
    '/v1/pulls',
    '/v1/pulls/',
    '/v1/pulls/a/b',
    '/v1/images/x',
    '/v2/',
    '/v1/pull\r\nx: y',
  ];
  for (const path of elsewhere) {
    assert.throws(
      () => routeOf('POST', path),
      (error) => error instanceof HttpError && error.status === 404,
      path,
    );
  }
});

test('a wrong method is told the right ones', () => {
  const allowed: [string, string, string][] = [
    ['GET', '/v1/pull', 'POST'],
    ['HEAD', '/v1/images', 'GET, DELETE'],
    ['OPTIONS', '/v1/validate', 'POST'],
    ['post', '/v1/pull', 'POST'],
    ['DELETE', '/v1/pulls/x', 'GET'],
    ['', '/v1/pull', 'POST'],
  ];
  for (const [method, path, allow] of allowed) {
    assert.throws(
      () => routeOf(method, path),
      (error) => error instanceof HttpError && error.status === 405 && error.headers.allow === allow,
      `${method} ${path}`,
    );
  }
});
