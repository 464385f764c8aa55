import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseLocalCaller } from '../../../infra/local/app/gateway.ts';
import { parseCaller } from '../../../lib/access/principal.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';

describe('the caller that an ARN names', () => {
  const accepted: [string, string][] = [
    ['arn:aws:iam::123456789012:user/jane', 'arn:aws:iam::123456789012:user/jane'],
    ['arn:aws:iam::123456789012:user/division/team/jane', 'arn:aws:iam::123456789012:user/division/team/jane'],
    ['arn:aws:iam::123456789012:root', 'arn:aws:iam::123456789012:root'],
    ['arn:aws:iam::123456789012:role/ci', 'arn:aws:iam::123456789012:role/ci'],
    ['arn:aws:iam::123456789012:role/service-role/team/ci', 'arn:aws:iam::123456789012:role/ci'],
    ['arn:aws:sts::123456789012:assumed-role/ci/build-17', 'arn:aws:iam::123456789012:role/ci'],
    [
      'arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Dev_0123456789abcdef/jane@example.test',
      'arn:aws:iam::123456789012:role/AWSReservedSSO_Dev_0123456789abcdef',
    ],
    [
      'arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReservedSSO_Dev_0123456789abcdef',
      'arn:aws:iam::123456789012:role/AWSReservedSSO_Dev_0123456789abcdef',
    ],
    ['arn:aws:sts::123456789012:federated-user/jane', 'arn:aws:sts::123456789012:federated-user/jane'],
    ['arn:aws-cn:iam::123456789012:role/ci', 'arn:aws-cn:iam::123456789012:role/ci'],
    ['arn:aws-cn:iam::123456789012:user/jane', 'arn:aws-cn:iam::123456789012:user/jane'],
    ['arn:aws-us-gov:iam::123456789012:role/team/ci', 'arn:aws-us-gov:iam::123456789012:role/ci'],
    ['arn:aws-us-gov:sts::123456789012:assumed-role/ci/s', 'arn:aws-us-gov:iam::123456789012:role/ci'],
    ['arn:aws-iso-b:sts::123456789012:federated-user/jane', 'arn:aws-iso-b:sts::123456789012:federated-user/jane'],
  ];
  for (const [written, arn] of accepted) {
    test(`${written}: what access rules compare is ${arn}`, () => {
      const { userArn, accountId } = parseLocalCaller(written);
      assert.equal(accountId, '123456789012');
      assert.deepEqual(parseCaller({ rules: [] }, { iam: { userArn } }), { kind: 'iam', arn });
    });
  }

  for (const written of [
    '',
    'jane',
    '123456789012',
    'arn:aws:iam::123456789012:group/ops',
    'arn:aws:iam::123456789012:policy/ops',
    'arn:aws:iam::12345:user/jane',
    'arn:aws:iam::123456789012:user/',
    'arn:aws:iam::123456789012:role/team/',
    'arn:aws:iam::123456789012:role/*',
    'arn:aws:sts::123456789012:assumed-role/ci',
    'arn:gcp:iam::123456789012:user/jane',
    'arn:aws:s3:::bucket',
    'arn:aws:iam::123456789012:root\n',
  ]) {
    test(`${JSON.stringify(written)} is refused, and the forms are named`, () =>
      assert.throws(
        () => parseLocalCaller(written),
        (error) =>
          error instanceof ConfigError &&
          ['user/<name>', 'role/<name>', ':root', 'assumed-role/<role>/<session>', 'federated-user/<name>'].every(
            (form) => error.message.includes(form),
          ),
      ));
  }
});
