import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { requestKey } from '../../../lib/jobs/pull-record.ts';
import { requestOf } from '../../conformance/pull-records-subject.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const keyOf = (...given: Parameters<typeof requestOf>): string => requestKey(requestOf(...given));

test('one spelling is as good as another', () => {
  assert.match(keyOf('alpine'), /^[0-9a-f]{64}$/);
  assert.equal(keyOf('alpine'), keyOf('docker.io/library/alpine:latest'));
  assert.equal(keyOf(`alpine:3@${DIGEST}`), keyOf(`alpine@${DIGEST}`), 'a digest wins over a tag');
  assert.equal(keyOf('alpine', ['linux/x86_64', 'linux/arm/7']), keyOf('alpine', ['linux/arm/v7', 'linux/amd64']));
});

test('platforms are a set', () => {
  const all = ['linux/amd64', 'linux/arm64', 'linux/arm64/v8', 'linux/arm/v7', 'windows/amd64'];
  fc.assert(
    fc.property(fc.subarray(all, { minLength: 1 }), fc.array(fc.nat(), { maxLength: 10 }), (platforms, picks) => {
      const repeated = picks.map((pick) => platforms[pick % platforms.length]!);
      assert.equal(keyOf('alpine', [...repeated, ...platforms.toReversed()]), keyOf('alpine', platforms));
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(fc.subarray(all), fc.subarray(all), (one, other) => {
      const same = one.length === other.length && one.every((platform) => other.includes(platform));
      assert.equal(keyOf('alpine', one) === keyOf('alpine', other), same);
    }),
    { numRuns: 100 },
  );
});

test('what asks for something else differs', () => {
  const base = requestOf('alpine', ['linux/amd64']);
  const others = [
    requestOf('alpine', []),
    requestOf('alpine:3', ['linux/amd64']),
    requestOf(`alpine@${DIGEST}`, ['linux/amd64']),
    requestOf('registry.example.test/library/alpine', ['linux/amd64']),
    { ...base, attestations: false },
    { ...base, alwaysPull: true },
  ];
  const keys = new Set([base, ...others].map(requestKey));
  assert.equal(keys.size, others.length + 1);
});
