import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UpstreamRefusedError } from '../../../lib/errors/cache-error.ts';
import { ConfiguredHosts, HostRules } from '../../../lib/registry/address.ts';
import { parseRealm } from '../../../lib/registry/challenge.ts';

const realm = (text: string, endpoint: string, realms: string[] = [], endpointMayBePrivate = true): string => {
  const base = new URL(endpoint);
  const hosts = new ConfiguredHosts({ endpoint: base, endpointMayBePrivate, mirrors: [], redirects: [] });
  return parseRealm(text, base, new HostRules(realms), hosts).reach;
};

const allowed: [string, string, string, string[]?][] = [
  ['configured', 'https://ghcr.io/token', 'https://ghcr.io'],
  ['configured', 'https://quay.io/v2/auth', 'https://quay.io'],
  ['public', 'https://auth.docker.io/token', 'https://registry-1.docker.io'],
  ['public', 'https://gitlab.com/jwt/auth', 'https://registry.gitlab.com'],
  ['configured', 'http://127.0.0.1:5001/token', 'http://127.0.0.1:5000'],
  ['configured', 'https://127.0.0.1:5001/token', 'http://127.0.0.1:5000'],
  ['configured', 'http://registry:5001/token', 'http://registry:5000'],
  ['configured', 'http://localhost:5001/token', 'http://localhost:5000'],
  ['configured', 'https://[::1]:5001/token', 'https://[::1]:5000'],
  ['configured', 'https://sso.example.test/token', 'https://registry.example.test', ['sso.example.test']],
  ['configured', 'http://sso.example.test:8080/t', 'https://registry.example.test', ['http://sso.example.test:8080']],
  ['configured', 'http://sso.example.test:8080/t', 'http://registry.example.test', ['sso.example.test']],
];

for (const [reach, text, endpoint, realms] of allowed) {
  test(`realm: ${text} is good for ${endpoint}${realms === undefined ? '' : ` with ${realms.join()}`}`, () =>
    assert.equal(realm(text, endpoint, realms), reach));
}

const refused: [string, string, string[]?][] = [
  ['https://evil.example.test/token', 'https://ghcr.io'],
  ['https://auth.docker.io/token', 'https://ghcr.io'],
  ['http://auth.docker.io/token', 'https://registry-1.docker.io'],
  ['https://auth.docker.io:8443/token', 'https://registry-1.docker.io'],
  ['https://auth.docker.io.evil.test/token', 'https://registry-1.docker.io'],
  ['https://ghcr.io@evil.example.test/token', 'https://ghcr.io'],
  ['https://user:word@ghcr.io/token', 'https://ghcr.io'],
  ['http://ghcr.io/token', 'https://ghcr.io'],
  ['https://ghcr.io:8443/token', 'https://ghcr.io'],
  ['https://127.0.0.2:5001/token', 'http://127.0.0.1:5000'],
  ['http://sso.example.test/token', 'https://registry.example.test', ['sso.example.test']],
  ['https://sso.example.test/token', 'https://registry.example.test', ['sso.example.test:8443']],
  ['file:///etc/passwd', 'https://ghcr.io'],
  ['/token', 'https://ghcr.io'],
  ['', 'https://ghcr.io'],
];

for (const [text, endpoint, realms] of refused) {
  test(`realm: ${JSON.stringify(text)} is refused for ${endpoint}`, () =>
    assert.throws(() => realm(text, endpoint, realms), UpstreamRefusedError));
}

test('realm: at the host of an endpoint that was not written it must be public, like the endpoint', () => {
  assert.equal(realm('https://quay.io/v2/auth', 'https://quay.io', [], false), 'public');
  assert.equal(realm('https://127.0.0.1:5001/token', 'https://127.0.0.1:5000', [], false), 'public');
  assert.equal(realm('https://quay.io/v2/auth', 'https://quay.io', ['quay.io'], false), 'configured');
});

test('realm: the refusal names the host and the setting, not the query', () => {
  assert.throws(
    () => realm('https://evil.example.test/token?key=s3cr3t', 'https://ghcr.io'),
    (error: Error) => /evil\.example\.test.*"realms"/.test(error.message) && !error.message.includes('s3cr3t'),
  );
});
