import assert from 'node:assert/strict';
import { test } from 'node:test';
import { objectionTo } from '../../../lib/registry/settings.ts';

const HOSTS = ['cdn.example.test', '*.blobs.example.test'];
const objection = (url: string, hosts = HOSTS): string | undefined => objectionTo(new URL(url), hosts);

test('named hosts pass, whatever their path and query', () => {
  for (const url of [
    'https://cdn.example.test/sha256/ab?signature=x&expires=1',
    'https://CDN.example.test:443/',
    'https://eu-1.blobs.example.test/x',
  ]) {
    assert.equal(objection(url), undefined, url);
  }
});

test('a star is one label: neither none nor two, and nothing before or behind', () => {
  for (const url of [
    'https://blobs.example.test/x',
    'https://.blobs.example.test/x',
    'https://a.b.blobs.example.test/x',
    'https://evilblobs.example.test/x',
    'https://a.blobs.example.test.evil.test/x',
    'https://a.blobs.example.test./x',
    'https://cdn.example.test./x',
    'https://a.cdn.example.test/x',
    'https://cdn.example.test.evil.test/x',
    'https://evil.test/cdn.example.test',
    'https://evil.test/?cdn.example.test',
    'https://evil.test#cdn.example.test',
    'https://127.0.0.1/x',
    'https://[::1]/x',
  ]) {
    assert.match(objection(url) ?? '', /does not name; add "/, url);
  }
  assert.match(objection('https://cdn.example.test/x', []) ?? '', /does not name/);
});

test('only https, at its own port, without user or password, of a length that every door takes', () => {
  assert.match(objection('http://cdn.example.test/x') ?? '', /not encrypted/);
  assert.match(objection('ftp://cdn.example.test/x') ?? '', /not encrypted/);
  assert.match(objection('javascript:alert(1)') ?? '', /not encrypted/);
  assert.match(objection('https://cdn.example.test:8443/x') ?? '', /port/);
  assert.match(objection('https://cdn.example.test:80/x') ?? '', /port/);
  assert.match(objection('https://user@cdn.example.test/x') ?? '', /user name or password/);
  assert.match(objection('https://:word@cdn.example.test/x') ?? '', /user name or password/);
  assert.match(objection(`https://cdn.example.test/?${'s'.repeat(8_000)}`) ?? '', /more than 8000 characters/);
});
