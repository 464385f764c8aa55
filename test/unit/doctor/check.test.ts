import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Check,
  checkGroup,
  ContradictionError,
  type Finding,
  must,
  SkipError,
} from '../../../lib/doctor/check.ts';
import type { Target } from '../../../lib/doctor/target.ts';

interface Scene extends AsyncDisposable {
  readonly told: string[];
}

const target = { isLocal: true } as Target;
const forever = new AbortController().signal;
const fixture = (told: string[], dispose = (): Promise<void> => Promise.resolve()): Scene => ({
  told,
  async [Symbol.asyncDispose]() {
    told.push('disposed');
    await dispose();
  },
});
const check = (id: string, run: Check<Scene>['run'], awsOnly?: string): Check<Scene> => ({
  id,
  claim: `claim of ${id}`,
  run,
  ...(awsOnly === undefined ? {} : { awsOnly }),
});
const verdicts = (findings: readonly Finding[]): string[] => findings.map(({ id, verdict }) => `${id} ${verdict}`);

test('each check has its finding, whatever the others do, and then the fixture is disposed of', async () => {
  const told: string[] = [];
  const group = checkGroup(
    'x',
    [
      check('contradicted', () => Promise.reject(new ContradictionError('something else'))),
      check('broken', () => Promise.reject(new Error('fetch failed', { cause: new Error('ECONNREFUSED') }))),
      check('unknown', () => Promise.reject(new SkipError('cannot be told'))),
      check('elsewhere', () => Promise.reject(new Error('is not run')), 'there is none here'),
      check('thrown', () => {
        must(false, 'at once');
        return Promise.resolve('not seen');
      }),
      check('right', (given) => Promise.resolve(`seen ${given.told.push('right')}`)),
    ],
    () => fixture(told),
  );
  const findings = await Array.fromAsync(group.examine(target, forever));
  assert.deepEqual(verdicts(findings), [
    'contradicted fails',
    'broken fails',
    'unknown skipped',
    'elsewhere skipped',
    'thrown fails',
    'right holds',
  ]);
  assert.deepEqual(
    findings.map(({ seen }) => seen),
    [
      'something else',
      'no answer: Error: fetch failed (ECONNREFUSED)',
      'cannot be told',
      'not on the embedded stack: there is none here',
      'at once',
      'seen 1',
    ],
  );
  assert.deepEqual(told, ['right', 'disposed']);
});

test('away from here a check of AWS alone is run', async () => {
  const group = checkGroup('x', [check('aws', () => Promise.resolve('seen'), 'not here')], () => fixture([]));
  const findings = await Array.fromAsync(group.examine({ ...target, isLocal: false }, forever));
  assert.deepEqual(verdicts(findings), ['aws holds']);
});

test('a check that never ends is ended, and the next one begins', async () => {
  const stuck = check(
    'stuck',
    (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      }),
  );
  const group = checkGroup('x', [stuck, check('next', () => Promise.resolve('seen'))], () => fixture([]), 50);
  const findings = await Array.fromAsync(group.examine(target, forever));
  assert.deepEqual(verdicts(findings), ['stuck fails', 'next holds']);
  assert.equal(findings[0]?.seen, 'timed out after 0.05 s');
});

test('what cannot be taken away is told', async () => {
  const left = fixture([], () => Promise.reject(new Error('objects are left')));
  const group = checkGroup('x', [check('right', () => Promise.resolve('seen'))], () => left);
  const findings = await Array.fromAsync(group.examine(target, forever));
  assert.deepEqual(verdicts(findings), ['right holds', 'cleanup-x fails']);
  assert.match(findings[1]?.seen ?? '', /objects are left/);
});

test('without a fixture all checks are skipped for its reason', async () => {
  const group = checkGroup('x', [check('a', () => Promise.resolve('seen'))], () => new SkipError('nobody answered'));
  const findings = await Array.fromAsync(group.examine(target, forever));
  assert.deepEqual(verdicts(findings), ['a skipped']);
  assert.equal(findings[0]?.seen, 'nobody answered');
});

test('an interruption ends the whole, after disposal', async () => {
  const told: string[] = [];
  const interruption = new AbortController();
  const first = check('first', () => {
    interruption.abort(new Error('Ctrl-C'));
    return Promise.resolve('seen');
  });
  const group = checkGroup('x', [first, check('second', () => Promise.resolve('seen'))], () => fixture(told));
  await assert.rejects(Array.fromAsync(group.examine(target, interruption.signal)), /Ctrl-C/);
  assert.deepEqual(told, ['disposed']);
});

test('secrets in messages of others are not shown, and long ones are cut', async () => {
  const secret = check('secret', () => Promise.reject(new Error('authorization: Bearer abcdefghijklmnop')));
  const long = check('long', () => Promise.reject(new ContradictionError('x'.repeat(5000))));
  const group = checkGroup('x', [secret, long], () => fixture([]));
  const [first, second] = await Array.fromAsync(group.examine(target, forever));
  assert.doesNotMatch(first?.seen ?? '', /abcdefghijklmnop/);
  assert.equal(second?.seen.length, 500);
});
