import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { stackSettings, type ParameterName } from '../../../infra/settings.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';

const settings = (parameters: Partial<Record<ParameterName, unknown>>, stage = 'dev') =>
  stackSettings(stage, parameters);

describe('the parameters of the stack', () => {
  test('have sane defaults', () => {
    assert.deepEqual(settings({}), {
      stage: 'dev',
      logRetentionDays: 30,
      rolePath: '/',
      tags: {},
      copyConcurrency: 40,
      apiRequestsPerSecond: 100,
      registryRequestsPerSecond: 1_000,
    });
  });

  test('may come as text or as numbers, and an empty one is not set', () => {
    const { logRetentionDays, bucket, copyConcurrency } = settings({
      logRetentionDays: 14,
      bucket: '',
      copyConcurrency: '5',
    });
    assert.deepEqual([logRetentionDays, bucket, copyConcurrency], [14, undefined, 5]);
  });

  test('say where a load balancer is only as a whole', () => {
    const certificate = 'arn:aws:acm:eu-central-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef';
    const whole = {
      albSubnetIds: 'subnet-0123456789abcdef0,subnet-0123456789abcdef1',
      albSecurityGroupIds: 'sg-0123456789abcdef0',
      albCertificateArn: certificate,
    };
    assert.deepEqual(settings(whole).loadBalancer, {
      subnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
      securityGroupIds: ['sg-0123456789abcdef0'],
      certificateArn: certificate,
    });
    for (const name of ['albSubnetIds', 'albSecurityGroupIds', 'albCertificateArn']) {
      assert.throws(() => settings({ ...whole, [name]: '' }), /give all three/, name);
    }
    assert.throws(() => settings({ ...whole, albSubnetIds: 'subnet-0123456789abcdef0' }), /two availability zones/);
    assert.throws(() => settings({ ...whole, albCertificateArn: 'my-certificate' }), /albCertificateArn/);
  });

  test('reserve nothing for copying only by a word', () => {
    assert.equal(settings({ copyConcurrency: 'none' }).copyConcurrency, undefined);
    for (const none of ['none', ''])
      assert.equal(settings({ registryConcurrency: none }).registryConcurrency, undefined);
    assert.equal(settings({ registryConcurrency: '500' }).registryConcurrency, 500);
    assert.throws(() => settings({ registryConcurrency: 'many' }), /registryConcurrency: "many"/);
    assert.throws(() => settings({ copyConcurrency: 0 }), /copyConcurrency: "0"; write a whole number from 1/);
  });

  test('take lists and tags separated by commas', () => {
    const { vpc, tags } = settings({
      vpcSubnetIds: 'subnet-0123456789abcdef0, subnet-0123456789abcdef1',
      vpcSecurityGroupIds: 'sg-0123456789abcdef0',
      tags: 'team=platform, cost centre=a=b',
    });
    assert.deepEqual(vpc, {
      subnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
      securityGroupIds: ['sg-0123456789abcdef0'],
    });
    assert.deepEqual(tags, { team: 'platform', 'cost centre': 'a=b' });
  });

  test('are refused all at once, each with what to write', () => {
    const wrong = {
      bucket: 'No',
      table: 'x',
      kmsKeyArn: 'alias/mine',
      logRetentionDays: 31,
      permissionsBoundary: 'boundary',
      rolePath: 'team',
      tags: 'aws:x=1',
      vpcSubnetIds: 'subnet-0123456789abcdef0',
      copyConcurrency: 'many',
      alarmTopicArn: 'topic',
      apiRequestsPerSecond: -1,
    };
    assert.throws(
      () => settings(wrong, 'Prod'),
      (error) => {
        assert.ok(error instanceof ConfigError);
        const named = [...Object.keys(wrong), 'vpcSecurityGroupIds', 'stage'];
        for (const name of named) assert.ok(error.message.includes(name), `${name} is not in ${error.message}`);
        return true;
      },
    );
  });

  test('a value of the wrong kind is a problem, not a crash', () => {
    assert.throws(() => settings({ bucket: ['a'] }), /bucket: write text, not a list/);
  });

  test('take only stages that fit into names', () => {
    for (const stage of ['dev', 'prod-2', 'a']) assert.equal(settings({}, stage).stage, stage);
    for (const stage of ['', '2a', 'a_b', 'a--b', 'a-', 'a'.repeat(17)]) {
      assert.throws(() => settings({}, stage), /stage/, stage);
    }
  });
});
