import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AccessSettings } from '../../../lib/access/access.ts';
import { nameOfCaller, parseCaller, valuesOfClaim } from '../../../lib/access/principal.ts';
import { UnauthenticatedError } from '../../../lib/errors/cache-error.ts';

const BY_IAM: AccessSettings = { rules: [] };
const BY_JWT: AccessSettings = {
  jwt: { issuer: 'https://issuer.example.test', audience: ['entrepot'], claim: { name: 'groups', anyOf: ['ops'] } },
  rules: [],
};

/** What API Gateway's HTTP APIs put into `requestContext.authorizer` for a request signed by a role's session. */
const iam = (userArn: unknown) => ({
  iam: {
    accessKey: 'ASIAEXAMPLE',
    accountId: '123456789012',
    callerId: 'AROAEXAMPLE:session',
    cognitoIdentity: null,
    principalOrgId: 'o-example',
    userArn,
    userId: 'AROAEXAMPLE:session',
  },
});

const jwt = (claims: unknown) => ({ jwt: { claims, scopes: null } });

describe('an IAM caller', () => {
  const principals: [string, string][] = [
    ['arn:aws:sts::123456789012:assumed-role/ci/build-17', 'arn:aws:iam::123456789012:role/ci'],
    [
      'arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Dev_0123456789abcdef/jane@example.test',
      'arn:aws:iam::123456789012:role/AWSReservedSSO_Dev_0123456789abcdef',
    ],
    ['arn:aws-cn:sts::123456789012:assumed-role/ci/s', 'arn:aws-cn:iam::123456789012:role/ci'],
    ['arn:aws-us-gov:sts::123456789012:assumed-role/ci/s', 'arn:aws-us-gov:iam::123456789012:role/ci'],
    ['arn:aws:iam::123456789012:user/team/jane', 'arn:aws:iam::123456789012:user/team/jane'],
    ['arn:aws:iam::123456789012:root', 'arn:aws:iam::123456789012:root'],
    ['arn:aws:sts::123456789012:federated-user/jane', 'arn:aws:sts::123456789012:federated-user/jane'],
  ];
  for (const [userArn, arn] of principals) {
    test(userArn, () => assert.deepEqual(parseCaller(BY_IAM, iam(userArn)), { kind: 'iam', arn }));
  }

  const nobody: [string, unknown][] = [
    ['no authoriser', undefined],
    ['an empty one', {}],
    ['null', null],
    ['a list', [iam('arn:aws:iam::123456789012:root')]],
    ['no ARN', iam(null)],
    ['an ARN that is a list', iam(['arn:aws:iam::123456789012:root'])],
    ['an empty ARN', iam('')],
    ['another service', iam('arn:aws:s3:::bucket')],
    ['a role that nobody assumed', iam('arn:aws:iam::123456789012:role/ci')],
    ['a session whose name holds a slash', iam('arn:aws:sts::123456789012:assumed-role/ci/x/y')],
    ['no session', iam('arn:aws:sts::123456789012:assumed-role/ci')],
    ['two lines', iam('arn:aws:iam::123456789012:user/a\narn:aws:iam::123456789012:root')],
    ['a JWT where IAM is asked for', jwt({ sub: 'jane', groups: '[ops]' })],
  ];
  for (const [name, authorizer] of nobody) {
    test(`nobody: ${name}`, () => assert.throws(() => parseCaller(BY_IAM, authorizer), UnauthenticatedError));
  }
});

describe('a caller with a token', () => {
  test('is its subject, with all claims as they came', () => {
    const claims = { sub: 'jane', groups: '[ops dev]', exp: '1735689600', iss: 'https://issuer.example.test' };
    const caller = parseCaller(BY_JWT, jwt(claims));
    assert.deepEqual(caller, { kind: 'jwt', subject: 'jane', claims });
    assert.equal(nameOfCaller(caller), 'jane');
  });

  test('may be a machine without a subject', () => {
    assert.equal(nameOfCaller(parseCaller(BY_JWT, jwt({ client_id: 'ci' }))), 'ci');
    assert.equal(nameOfCaller(parseCaller(BY_JWT, jwt({ groups: 'ops' }))), 'unnamed');
  });

  for (const authorizer of [undefined, {}, jwt(undefined), jwt({}), jwt([]), iam('arn:aws:iam::123456789012:root')]) {
    test(`nobody: ${JSON.stringify(authorizer)}`, () =>
      assert.throws(() => parseCaller(BY_JWT, authorizer), UnauthenticatedError));
  }
});

describe('the values of a claim', () => {
  const cases: [string, unknown, string[]][] = [
    ['groups', '[ops dev]', ['ops', 'dev']],
    ['groups', '[ops]', ['ops']],
    ['groups', '[]', []],
    ['groups', 'ops', ['ops']],
    ['groups', 'ops dev', ['ops dev']],
    ['groups', '', []],
    ['groups', ['ops', 'dev team'], ['ops', 'dev team']],
    ['groups', undefined, []],
    ['groups', null, []],
    ['groups', { ops: true }, []],
    ['groups', [{ ops: true }, 'dev'], ['dev']],
    ['level', '3', ['3']],
    ['level', 3, ['3']],
    ['admin', true, ['true']],
    ['scope', 'pull validate', ['pull', 'validate']],
    ['scp', '[pull validate]', ['pull', 'validate']],
    // Chosen by whoever has the account: the name of nobody else.
    ['cognito:username', '[alice]', ['[alice]']],
    ['team', '[ops dev]', ['[ops dev]']],
  ];
  for (const [name, claim, values] of cases) {
    test(`${name}: ${JSON.stringify(claim)}`, () =>
      assert.deepEqual(valuesOfClaim({ [name]: claim }, { name }), values));
  }

  test('are a list where the configuration says so, and none where it says that', () => {
    assert.deepEqual(valuesOfClaim({ team: '[ops dev]' }, { name: 'team', list: true }), ['ops', 'dev']);
    assert.deepEqual(valuesOfClaim({ groups: '[ops dev]' }, { name: 'groups', list: false }), ['[ops dev]']);
  });

  test('are the token’s own: nothing that every object has', () => {
    assert.deepEqual(valuesOfClaim({}, { name: 'constructor' }), []);
    assert.deepEqual(valuesOfClaim({}, { name: '__proto__' }), []);
  });
});
