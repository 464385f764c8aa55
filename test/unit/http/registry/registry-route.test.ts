import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CacheError } from '../../../../lib/errors/cache-error.ts';
import { httpStatusOf } from '../../../../lib/http/problem.ts';
import { isRegistryPath, registryRoute } from '../../../../lib/http/registry/registry-route.ts';
import { formatReference, formatRepository } from '../../../../lib/reference/reference.ts';

const REGISTRIES = new Map(
  [
    { name: 'docker.io' },
    { name: 'ghcr.io', alias: 'gh' },
    { name: 'registry.example.test:5000' },
    { name: 'localhost:5001' },
  ].map((one) => [one.name, one]),
);
const DIGEST = `sha256:${'a'.repeat(64)}`;
const route = (path: string, query = '', method = 'GET') =>
  registryRoute(method, path, new URLSearchParams(query), REGISTRIES);

function shown(path: string, query?: string): string {
  const found = route(path, query);
  if (found.kind === 'ping') return 'ping';
  if (found.kind === 'catalog') return `catalog ${found.registry ?? 'of all'}`;
  if (found.kind === 'manifest') return `manifest ${formatReference(found.reference)}`;
  return `${found.kind} ${formatRepository(found.repository)}${'digest' in found ? ` ${found.digest.slice(0, 10)}` : ''}`;
}

describe('what is asked for', () => {
  const cases: [string, string, string][] = [
    ['/v2/', '', 'ping'],
    ['/v2', '', 'ping'],
    ['/v2/_catalog', '', 'catalog of all'],
    ['/v2/_catalog', 'ns=docker.io&n=2', 'catalog docker.io'],
    ['/v2/library/alpine/manifests/3.20', '', 'manifest docker.io/library/alpine:3.20'],
    ['/v2/alpine/manifests/latest', '', 'manifest docker.io/library/alpine:latest'],
    ['/v2/org/app/manifests/v1', 'ns=ghcr.io', 'manifest ghcr.io/org/app:v1'],
    ['/v2/library/alpine/manifests/v1', 'ns=docker.io', 'manifest docker.io/library/alpine:v1'],
    ['/v2/library/alpine/manifests/v1', 'ns=registry-1.docker.io', 'manifest docker.io/library/alpine:v1'],
    ['/v2/ghcr.io/org/app/manifests/v1', '', 'manifest ghcr.io/org/app:v1'],
    ['/v2/gh/org/app/manifests/v1', '', 'manifest ghcr.io/org/app:v1'],
    ['/v2/docker.io/alpine/manifests/v1', '', 'manifest docker.io/library/alpine:v1'],
    ['/v2/registry.example.test:5000/a/b/c/tags/list', '', 'tags registry.example.test:5000/a/b/c'],
    ['/v2/localhost:5001/app/tags/list', '', 'tags localhost:5001/app'],
    // A path of Docker's has no ":".
    ['/v2/localhost_5001/app/tags/list', '', 'tags localhost:5001/app'],
    ['/v2/registry.example.test_5000/a/b/manifests/v1', '', 'manifest registry.example.test:5000/a/b:v1'],
    ['/v2/localhost_5002/app/tags/list', '', 'tags docker.io/localhost_5002/app'],
    // "ns" wins: then the first part is a part of the name.
    ['/v2/gh/app/tags/list', 'ns=docker.io', 'tags docker.io/gh/app'],
    [`/v2/library/alpine/manifests/${DIGEST}`, '', `manifest docker.io/library/alpine@${DIGEST}`],
    [`/v2/library/alpine/blobs/${DIGEST}`, '', 'blob docker.io/library/alpine sha256:aaa'],
    [`/v2/library/alpine/blobs/sha256%3A${'a'.repeat(64)}`, '', 'blob docker.io/library/alpine sha256:aaa'],
    [`/v2/library/alpine/referrers/${DIGEST}`, '', 'referrers docker.io/library/alpine sha256:aaa'],
    // Words of the API may be parts of a name, too.
    ['/v2/library/manifests/manifests/v1', '', 'manifest docker.io/library/manifests:v1'],
    ['/v2/org/tags/list/manifests/v1', '', 'manifest docker.io/org/tags/list:v1'],
  ];
  for (const [path, query, expected] of cases) {
    test(`${path} ${query}`, () => assert.equal(shown(path, query), expected));
  }
});

describe('what is refused', () => {
  const cases: [string, string, number, string][] = [
    ['/v2/alpine/manifests/v1', 'ns=evil.example.test', 404, 'NAME_UNKNOWN'],
    ['/v2/alpine/manifests/v1', 'ns=127.0.0.1:1', 404, 'NAME_UNKNOWN'],
    ['/v2/alpine/manifests/v1', 'ns=http://ghcr.io', 400, 'NAME_INVALID'],
    ['/v2/alpine/manifests/v1', 'ns=ghcr.io&ns=docker.io', 400, 'NAME_INVALID'],
    ['/v2/alpine/manifests/v1', 'ns=', 400, 'NAME_INVALID'],
    ['/v2/evil.example.test/app/manifests/v1', '', 404, 'NAME_UNKNOWN'],
    ['/v2/[::1]:80/app/manifests/v1', '', 404, 'NAME_UNKNOWN'],
    ['/v2/localhost/app/manifests/v1', '', 404, 'NAME_UNKNOWN'],
    ['/v2/ghcr.io%2forg/app/manifests/v1', '', 400, 'NAME_INVALID'],
    ['/v2/library//alpine/manifests/v1', '', 400, 'NAME_INVALID'],
    ['/v2/library/../alpine/manifests/v1', '', 400, 'NAME_INVALID'],
    ['/v2/Library/Alpine/manifests/v1', '', 400, 'NAME_INVALID'],
    ['/v2/library/alpine/manifests/v1%00', '', 400, 'NAME_INVALID'],
    ['/v2/library/alpine/manifests/-v1', '', 404, 'MANIFEST_UNKNOWN'],
    ['/v2/library/alpine/manifests/v1\r\nx: y', '', 400, 'NAME_INVALID'],
    [`/v2/${'a/'.repeat(600)}manifests/v1`, '', 400, 'NAME_INVALID'],
    ['/v2/library/alpine/blobs/sha256:abc', '', 400, 'DIGEST_INVALID'],
    [`/v2/library/alpine/blobs/sha512:${'a'.repeat(64)}`, '', 400, 'DIGEST_INVALID'],
    [`/v2/library/alpine/blobs/sha384:${'a'.repeat(96)}`, '', 400, 'DIGEST_INVALID'],
    ['/v2/_catalog', 'ns=nobody.example.test', 404, 'NAME_UNKNOWN'],
    ['/v2/_catalog/', '', 405, 'UNSUPPORTED'],
    ['/v2/library/alpine/manifests/', '', 405, 'UNSUPPORTED'],
  ];
  for (const [path, query, status, code] of cases) {
    test(`${JSON.stringify(path.slice(0, 60))} ${query}`, () => {
      assert.throws(
        () => route(path, query),
        (error: CacheError) => {
          assert.deepEqual([httpStatusOf(error), error.code], [status, code], error.message);
          return true;
        },
      );
    });
  }

  test('paths outside /v2/ are none of this API', () => {
    for (const path of ['', '/', '/v1/pull', '/healthz', '/v2x', '//v2/', '/V2/', 'v2/'])
      assert.ok(!isRegistryPath(path), path);
    for (const path of ['/v2', '/v2/', '/v2//', '/v2/library/alpine/tags/list']) assert.ok(isRegistryPath(path), path);
  });

  test('every method that writes, whatever the path', () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'get']) {
      assert.throws(() => route('/v2/library/alpine/blobs/uploads/', '', method), { code: 'UNSUPPORTED', status: 405 });
    }
  });
});
