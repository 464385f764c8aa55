import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findRoute, type Route } from '../../../infra/local/app/gateway.ts';

const route = (method: string, path: string): Route => ({ method, path, functionName: `${method} ${path}` });
const ROUTES = [
  route('ANY', '/{proxy+}'),
  route('GET', '/v1/pulls/{id}'),
  route('ANY', '/v1/pulls/latest'),
  route('GET', '/v1/pulls/latest'),
  route('POST', '/v1/pull'),
  route('GET', '/v1/files/{path+}'),
];
const found = (method: string, path: string): readonly [string | undefined, object | undefined] => {
  const match = findRoute(ROUTES, method, path);
  return [match?.route.functionName, match?.pathParameters];
};

test('the most exact route wins', () => {
  assert.deepEqual(found('POST', '/v1/pull'), ['POST /v1/pull', {}]);
  assert.deepEqual(found('GET', '/v1/pulls/latest'), ['GET /v1/pulls/latest', {}]);
  assert.deepEqual(found('DELETE', '/v1/pulls/latest'), ['ANY /v1/pulls/latest', {}]);
  assert.deepEqual(found('GET', '/v1/pulls/a%2Fb'), ['GET /v1/pulls/{id}', { id: 'a/b' }]);
  assert.deepEqual(found('GET', '/v1/files/a/b'), ['GET /v1/files/{path+}', { path: 'a/b' }]);
  assert.deepEqual(found('HEAD', '/anything/else'), ['ANY /{proxy+}', { proxy: 'anything/else' }]);
});

test('no route: another method, an empty part, something behind', () => {
  const routes = ROUTES.slice(1);
  for (const [method, path] of [
    ['GET', '/v1/pull'],
    ['GET', '/v1/pulls/'],
    ['GET', '/v1/pulls/a/b'],
    ['POST', '/v1/pull/'],
    ['GET', '/v1/files/'],
    ['GET', '/'],
  ] as const) {
    assert.equal(findRoute(routes, method, path), undefined, `${method} ${path}`);
  }
});
