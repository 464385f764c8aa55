import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadConfig } from '../../../lib/config/config.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { freshnessOf } from '../../../lib/serve/freshness.ts';
import type { ServeSettings } from '../../../lib/serve/settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-serve-config-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function load(serve: string): ServeSettings {
  writeFileSync(join(folder, 'entrepot.yaml'), `registries: { docker.io: {}, ghcr.io: {} }\n${serve}`);
  return loadConfig({}, folder).serve;
}
const refused = (serve: string, what: RegExp): void =>
  assert.throws(
    () => load(serve),
    (error: unknown) => error instanceof ConfigError && what.test(error.message),
    what.source,
  );

describe('the section serve', () => {
  test('has a default for everything: Docker Hub is asked once an hour, the others every five minutes', () => {
    const settings = load('');
    assert.deepEqual(
      [settings.front, settings.onBlobMiss, settings.waiting, settings.referrersTtlMs, settings.blobEndpoint],
      ['httpApi', 'wait', 1_000, 300_000, undefined],
    );
    const of = freshnessOf(settings.freshness);
    assert.equal(of(parseReference('alpine')).ttlMs, 3_600_000);
    assert.deepEqual(of(parseReference('ghcr.io/org/app:v1')), {
      ttlMs: 300_000,
      staleIfErrorMs: 30 * 86_400_000,
      keepOnNotFound: true,
      maxStaleOnDeniedMs: 7 * 86_400_000,
      notFoundMs: 60_000,
    });
  });

  test('rules come before the defaults; what they do not say is the usual', () => {
    const of = freshnessOf(
      load(`serve:
  blobEndpoint: https://s3.dualstack.eu-central-1.amazonaws.com
  freshness:
    - { repositories: ['docker.io/library/*'], tags: [latest], ttlSeconds: 0, keepOnNotFound: false }
`).freshness,
    );
    const latest = of(parseReference('alpine'));
    assert.deepEqual([latest.ttlMs, latest.keepOnNotFound, latest.notFoundMs], [0, false, 60_000]);
    assert.equal(of(parseReference('alpine:3.20')).ttlMs, 3_600_000);
  });

  test('clients wait for a blob unless they are to be sent on', () => {
    assert.equal(load('serve: { onBlobMiss: redirect }').onBlobMiss, 'redirect');
    assert.equal(load('serve: { onBlobMiss: wait }').onBlobMiss, 'wait');
  });

  test("blobs are never at or below a name of the cache's own: current Go sends the login there", () => {
    const at = (hosts: string, endpoint: string, more = ''): string =>
      `serve: { hosts: [${hosts}], blobEndpoint: "${endpoint}"${more} }`;
    for (const endpoint of [
      'https://cache.example.test',
      'https://cache.example.test:8443',
      'https://CACHE.example.test',
      'https://blobs.cache.example.test',
      'http://a.b.cache.example.test:9000',
      'https://blobs.cache.example.test.',
    ]) {
      const found = /serve\.blobEndpoint: is at or below cache\.example\.test, .*current Go.* S3 answers 400/;
      refused(at('other.example.test, Cache.example.test', endpoint), found);
      refused(at('cache.example.test', endpoint, ', auth: none'), found);
    }
    for (const endpoint of [
      'https://blobs.example.test',
      'https://example.test',
      'https://mycache.example.test',
      'https://cache.example.test.s3.eu-central-1.amazonaws.com',
    ]) {
      assert.equal(load(at('cache.example.test', endpoint)).blobEndpoint?.origin, endpoint);
    }
    refused('serve: { hosts: ["https://cache.example.test"] }', /serve\.hosts\[0\]: .*without scheme and port/);
    refused('serve: { hosts: ["*.example.test"] }', /serve\.hosts\[0\]: is not a host name/);
  });

  test('on loopback another port is the same host for a login', () => {
    refused(
      'serve: { auth: tokens, blobEndpoint: "http://127.0.0.1:9000" }',
      /serve\.blobEndpoint: is at or below 127\.0\.0\.1/,
    );
    for (const section of [
      '{ auth: none, blobEndpoint: "http://127.0.0.1:9000" }',
      '{ auth: tokens, blobEndpoint: "http://localhost:9000" }',
    ]) {
      assert.equal(load(`serve: ${section}`).blobEndpoint?.port, '9000');
    }
  });

  test('what is wrong is said, all at once', () => {
    refused('serve: []', /serve: expected a map/);
    refused('serve: { ttl: 5 }', /serve\.ttl: unknown key; the known ones are auth, front/);
    refused('serve: { waiting: 0 }', /serve\.waiting: 0 is out of range/);
    refused('serve: { onBlobMiss: hope }', /serve\.onBlobMiss: write one of wait, redirect$/m);
    refused('serve: { blobEndpoint: "s3:/x" }', /serve\.blobEndpoint: /);
    refused('serve: { freshness: [{ ttlSeconds: 5 }] }', /serve\.freshness\[0\]\.repositories: /);
    refused(
      'serve: { freshness: [{ repositories: ["!a/b"], ttlSeconds: -1 }] }',
      /is not a glob pattern[^]*ttlSeconds: -1 is out of range/,
    );
  });
});
