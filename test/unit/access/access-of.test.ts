import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  accessOf,
  type AccessRule,
  type AccessSettings,
  type Caller,
  checkMayUse,
} from '../../../lib/access/access.ts';
import { ForbiddenError } from '../../../lib/errors/cache-error.ts';
import { parseReference } from '../../../lib/reference/reference.ts';

const repository = (text: string) => parseReference(text).repository;
const role = (name: string): Caller => ({ kind: 'iam', arn: `arn:aws:iam::123456789012:role/${name}` });
const token = (groups: unknown): Caller => ({ kind: 'jwt', subject: 'jane', claims: { groups } });

function byIam(...rules: AccessRule[]): AccessSettings {
  return { rules };
}

function byJwt(anyOf: readonly string[], ...rules: AccessRule[]): AccessSettings {
  return { jwt: { issuer: 'https://i.example.test', audience: ['a'], claim: { name: 'groups', anyOf } }, rules };
}

const uses = (settings: AccessSettings, caller: Caller, name: string): boolean =>
  accessOf(settings, caller).mayUse(repository(name));

describe('IAM', () => {
  test('without rules every known caller may use everything', () => {
    assert.ok(uses(byIam(), role('ci'), 'alpine'));
  });

  test('with rules only what they say', () => {
    const settings = byIam(
      { callers: ['arn:aws:iam::123456789012:role/ci-*'], repositories: ['docker.io/library/*', 'ghcr.io/team/**'] },
      { callers: ['arn:aws:iam::*:role/ops', 'arn:aws:iam::123456789012:user/**'], repositories: ['**'] },
    );
    assert.ok(uses(settings, role('ci-main'), 'alpine'));
    assert.ok(uses(settings, role('ci-main'), 'ghcr.io/team/a/b'));
    assert.ok(!uses(settings, role('ci-main'), 'docker.io/other/alpine'));
    assert.ok(!uses(settings, role('ci-main'), 'ghcr.io/team2/a'));
    assert.ok(uses(settings, role('ops'), 'ghcr.io/team2/a'));
    assert.ok(!uses(settings, role('ops2'), 'alpine'));
    assert.ok(uses(settings, { kind: 'iam', arn: 'arn:aws:iam::123456789012:user/a/jane' }, 'alpine'));
    assert.ok(!uses(settings, role('stranger'), 'alpine'));
  });

  test('a "*" does not pass a "/"', () => {
    assert.ok(!uses(byIam({ callers: ['*'], repositories: ['**'] }), role('ci'), 'alpine'));
    assert.ok(uses(byIam({ callers: ['**'], repositories: ['**'] }), role('ci'), 'alpine'));
  });

  test('nobody gets in by a pattern that the configuration should have refused', () => {
    for (const [callers, repositories] of [
      ['!nobody', '**'],
      ['**', '!docker.io/secret/**'],
    ] as const) {
      const settings = byIam({ callers: [callers], repositories: [repositories] });
      assert.throws(() => uses(settings, role('ci'), 'alpine'), SyntaxError);
    }
  });

  test('a rule without callers or repositories grants nothing', () => {
    assert.ok(!uses(byIam({ callers: [], repositories: ['**'] }), role('ci'), 'alpine'));
    assert.ok(!uses(byIam({ callers: ['**'], repositories: [] }), role('ci'), 'alpine'));
  });

  test('a token is nobody here', () => {
    assert.ok(!uses(byIam(), token('ops'), 'alpine'));
    assert.ok(!uses(byIam({ callers: ['**'], repositories: ['**'] }), token('ops'), 'alpine'));
  });
});

describe('JWT', () => {
  test('the rule for the claim must hold', () => {
    assert.ok(uses(byJwt(['ops', 'dev-*']), token('[x dev-1]'), 'alpine'));
    for (const groups of ['[x y]', 'opsx', '', undefined, '[]']) {
      assert.throws(() => accessOf(byJwt(['ops', 'dev-*']), token(groups)), ForbiddenError);
    }
    assert.throws(() => accessOf(byJwt([]), token('ops')), ForbiddenError);
    assert.throws(() => accessOf(byJwt(['**']), role('ci')), ForbiddenError);
  });

  test('rules match the values of the same claim', () => {
    const settings = byJwt(['**'], { callers: ['dev'], repositories: ['ghcr.io/dev/**'] });
    assert.ok(uses(settings, token('[a dev]'), 'ghcr.io/dev/app'));
    assert.ok(!uses(settings, token('[a dev]'), 'ghcr.io/ops/app'));
    assert.ok(!uses(settings, token('ops'), 'ghcr.io/dev/app'));
  });
});

test('what is refused says the name that was asked for, and nothing of what there is', () => {
  const access = accessOf(byIam({ callers: ['nobody'], repositories: ['**'] }), role('ci'));
  assert.throws(
    () => checkMayUse(access, repository('ghcr.io/team/app')),
    (error) => error instanceof ForbiddenError && error.message.includes('may not use ghcr.io/team/app'),
  );
});
