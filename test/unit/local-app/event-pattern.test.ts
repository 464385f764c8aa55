import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesPattern } from '../../../infra/local/app/event-bus.ts';

const event = {
  source: 'team.builder',
  'detail-type': 'Pull Image',
  resources: ['arn:a', 'arn:b'],
  detail: { reference: 'docker.io/library/alpine:3.20', count: 0, empty: null, repository: 'team/app/web' },
};

test('a field matches with one of its values, and all fields must', () => {
  assert.ok(matchesPattern({}, event));
  assert.ok(matchesPattern({ source: ['other', 'team.builder'], 'detail-type': ['Pull Image'] }, event));
  assert.ok(matchesPattern({ resources: ['arn:b'], detail: { count: [0], empty: [null] } }, event));
  assert.ok(!matchesPattern({ source: ['team'] }, event));
  assert.ok(!matchesPattern({ detail: { count: ['0'] } }, event));
  assert.ok(!matchesPattern({ missing: { deeper: ['x'] } }, event));
});

test('operators', () => {
  assert.ok(matchesPattern({ source: [{ prefix: 'team.' }], detail: { reference: [{ exists: true }] } }, event));
  assert.ok(matchesPattern({ detail: { nothing: [{ exists: false }], reference: [{ suffix: ':3.20' }] } }, event));
  assert.ok(matchesPattern({ source: [{ 'anything-but': ['entrepot'] }] }, event));
  assert.ok(!matchesPattern({ source: [{ 'anything-but': ['entrepot', 'team.builder'] }] }, event));
  assert.ok(!matchesPattern({ source: [{ 'anything-but': { prefix: 'team' } }] }, event));
  assert.ok(!matchesPattern({ nothing: [{ 'anything-but': ['x'] }] }, event));
  assert.ok(matchesPattern({ detail: { repository: [{ wildcard: 'team/*/web' }] } }, event));
  assert.ok(!matchesPattern({ detail: { repository: [{ wildcard: 'team/*.web' }] } }, event));
  assert.ok(!matchesPattern({ detail: { reference: [{ exists: false }] } }, event));
});

test('what it does not know it refuses to guess', () => {
  assert.throws(() => matchesPattern({ source: [{ cidr: '10.0.0.0/8' }] }, event), /"cidr"/);
  assert.throws(() => matchesPattern({ source: 'team.builder' }, event), /write a list/);
});
