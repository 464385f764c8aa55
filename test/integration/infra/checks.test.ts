import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CHECKS, violations } from '../../../infra/checks/checks.ts';
import type { Template } from '../../../infra/cloudformation.ts';
import { FUNCTIONS } from '../../../infra/names.ts';
import { plainTemplate } from '../../../infra/packaging/plain-template.ts';
import { ROUTES } from '../../../lib/http/control/routes.ts';
import { compiledTemplate } from '../../support/compiled-template.ts';
import { ALB_PARAMETERS, BEHIND_ALB, EVERY_PARAMETER, EVERYTHING, KEY_ARN } from '../../support/packaged-config.ts';

const [iam, alb, jwt] = await Promise.all([
  compiledTemplate(EVERYTHING.slice(0, EVERYTHING.indexOf('access:'))),
  compiledTemplate(BEHIND_ALB, { parameters: ALB_PARAMETERS }),
  compiledTemplate(EVERYTHING, { stage: 'prod', parameters: EVERY_PARAMETER }),
]);

/** One way to lose a property. */
interface Loss {
  readonly what: string;
  apply(resources: Node): void;
}
type Node = Record<string, unknown>;

/** The object or list that holds the last step of the path `Resource.Properties.List.0`, and that step. */
function holderOf(resources: Node, path: string): [Node, string] {
  const steps = path.split('.');
  const last = steps.pop() ?? '';
  const holder = steps.reduce((here, step) => {
    const next = here[step];
    assert.ok(typeof next === 'object' && next !== null, `${path}: there is no ${step}`);
    return next as Node;
  }, resources);
  return [holder, last];
}

const without = (path: string): Loss => ({
  what: `without ${path}`,
  apply(resources) {
    const [holder, last] = holderOf(resources, path);
    assert.ok(last in holder, `${path}: there is no ${last}`);
    if (Array.isArray(holder)) holder.splice(Number(last), 1);
    else Reflect.deleteProperty(holder, last);
  },
});
const changed = (path: string, value: unknown): Loss => ({
  what: `${path} = ${JSON.stringify(value)}`,
  apply(resources) {
    const [holder, last] = holderOf(resources, path);
    holder[last] = value;
  },
});

const mutated = (template: Template, ...losses: readonly Loss[]): Template => {
  const copy = structuredClone(template);
  for (const loss of losses) loss.apply(copy.Resources);
  assert.notDeepEqual(copy, template);
  return copy;
};

const bucketPolicy = 'BucketPolicy.Properties.PolicyDocument.Statement';
const statementsOf = (role: string): string => `${role}.Properties.Policies.0.PolicyDocument.Statement`;
const deletionsPolicy = 'ContentDeletedPolicy.Properties.PolicyDocument.Statement.1';
const trustOf = (role: string): string => `${role}.Properties.AssumeRolePolicyDocument.Statement`;
const [schedule] = Object.keys(iam.Resources).filter((id) => id.startsWith('WarmupNightly'));
const [listing] = Object.entries(iam.Resources).flatMap(([id, { Properties }]) => {
  if (id !== 'PlanRole') return [];
  const [policy] = Properties?.Policies as unknown as { PolicyDocument: { Statement: { Action: string[] }[] } }[];
  return (policy?.PolicyDocument.Statement ?? []).flatMap(({ Action }, index) =>
    Action.includes('s3:ListBucket') ? [index] : [],
  );
});

/** How each property can be lost: each way must be seen by the check that it is listed under. */
const LOSSES: Readonly<Record<string, readonly Loss[]>> = {
  bucketsAreEncrypted: [
    without('Bucket.Properties.BucketEncryption'),
    without('ServerlessDeploymentBucket.Properties.BucketEncryption'),
  ],
  bucketsArePrivate: [
    changed('Bucket.Properties.PublicAccessBlockConfiguration.BlockPublicPolicy', false),
    without('Bucket.Properties.PublicAccessBlockConfiguration'),
    without('ServerlessDeploymentBucket.Properties.PublicAccessBlockConfiguration'),
  ],
  bucketHasNoAcls: [changed('Bucket.Properties.OwnershipControls.Rules.0.ObjectOwnership', 'ObjectWriter')],
  bucketsTakeTlsOnly: [
    without(`${bucketPolicy}.0`),
    changed(`${bucketPolicy}.0.Action`, 's3:GetObject'),
    changed(`${bucketPolicy}.0.Effect`, 'Allow'),
    without(`${bucketPolicy}.0.Resource.1`),
  ],
  bucketRefusesOverwrites: [
    without(`${bucketPolicy}.1`),
    without(`${bucketPolicy}.1.Resource.1`),
    without(`${bucketPolicy}.1.Condition.Bool`),
    without(`${bucketPolicy}.1.Condition.Null`),
    changed(`${bucketPolicy}.1.Principal`, { AWS: '123456789012' }),
    without('BucketPolicy'),
  ],
  bucketComparesRecords: [
    without(`${bucketPolicy}.2`),
    without(`${bucketPolicy}.2.Condition.Null`),
    without(`${bucketPolicy}.2.Condition.Bool`),
    changed(`${bucketPolicy}.2.Effect`, 'Allow'),
  ],
  uploadsAreAborted: [
    without('Bucket.Properties.LifecycleConfiguration.Rules.0'),
    changed('Bucket.Properties.LifecycleConfiguration.Rules.0.Status', 'Disabled'),
    changed('Bucket.Properties.LifecycleConfiguration.Rules.0.Prefix', 'plans/'),
  ],
  onlyPlansExpire: [
    without('Bucket.Properties.LifecycleConfiguration.Rules.1'),
    changed('Bucket.Properties.LifecycleConfiguration.Rules.0.ExpirationInDays', 30),
    changed('Bucket.Properties.LifecycleConfiguration.Rules.1.Prefix', 'blobs/'),
  ],
  deletionsAreHeard: [
    without('Bucket.Properties.NotificationConfiguration'),
    without('ContentDeletedRule'),
    changed('ContentDeletedRule.Properties.State', 'DISABLED'),
    changed('ContentDeletedRule.Properties.Targets.0.Arn', { 'Fn::GetAtt': ['FailedEvents', 'Arn'] }),
    changed('ContentDeletedRule.Properties.Targets.0.Arn', { 'Fn::GetAtt': ['EventsLambdaFunction', 'Arn'] }),
    without('ContentDeletedMapping'),
    changed('ContentDeletedMapping.Properties.Enabled', false),
    changed('ContentDeletedMapping.Properties.BatchSize', 10),
    without('ContentDeletedPolicy.Properties.PolicyDocument.Statement.1'),
  ],
  dataIsRetained: [without('Bucket.DeletionPolicy'), changed('Table.UpdateReplacePolicy', 'Delete')],
  tableCanBeRestored: [without('Table.Properties.PointInTimeRecoverySpecification')],
  tableIsProtected: [changed('Table.Properties.DeletionProtectionEnabled', false)],
  tableIsOnDemand: [changed('Table.Properties.BillingMode', 'PROVISIONED')],
  tableExpiresRows: [changed('Table.Properties.TimeToLiveSpecification.AttributeName', 'expires')],
  dataHasOneKey: [
    changed('Table.Properties.SSESpecification', { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: KEY_ARN }),
  ],
  rolesNameTheirActions: [
    changed(`${statementsOf('CopyRole')}.0.Action`, ['s3:*']),
    changed(`${statementsOf('CopyRole')}.0.Action`, '*'),
    changed(`${statementsOf('CopyRole')}.0.NotAction`, ['iam:*']),
  ],
  rolesNameTheirResources: [
    changed(`${statementsOf('ApiRole')}.1.Resource`, ['*']),
    changed(`${statementsOf('ApiRole')}.1.Resource`, '*'),
    changed(`${statementsOf('ApiRole')}.1.Resource`, [
      { 'Fn::Sub': 'arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/*' },
    ]),
    changed(`${statementsOf('ApiRole')}.2.Resource`, ['arn:aws:s3:::*']),
    changed(`${statementsOf('ApiRole')}.2.NotResource`, ['arn:aws:s3:::one']),
  ],
  rolesHaveNoManagedPolicies: [
    changed('FailRole.Properties.ManagedPolicyArns', ['arn:aws:iam::aws:policy/AmazonS3FullAccess']),
  ],
  functionsHaveRolesOfTheirOwn: [
    changed('ApiLambdaFunction.Properties.Role', { 'Fn::GetAtt': ['CopyRole', 'Arn'] }),
    without('ApiLambdaFunction.Properties.Role'),
  ],
  rolesTrustOneService: [
    changed(`${trustOf('ApiRole')}.0.Principal`, { AWS: '*' }),
    changed(`${trustOf('ApiRole')}.0.Principal.AWS`, '111122223333'),
    without(`${trustOf('WorkflowRole')}.0.Condition`),
    changed(`${trustOf('ApiRole')}.1`, {
      Effect: 'Allow',
      Principal: { AWS: '111122223333' },
      Action: 'sts:AssumeRole',
    }),
  ],
  rolesShareBoundaryAndPath: [
    changed('ApiRole.Properties.Path', '/other/'),
    changed('ApiRole.Properties.PermissionsBoundary', 'arn:aws:iam::123456789012:policy/boundary'),
  ],
  readersCanTellAbsence: [without(`${statementsOf('PlanRole')}.${listing}`)],
  doorChangesNothingServed: [
    without(`${statementsOf('RegistryRole')}.2.Condition`),
    without(`${statementsOf('RegistryRole')}.2.Condition.Null`),
    changed(`${statementsOf('RegistryRole')}.2.Condition.ForAllValues:StringLike.dynamodb:LeadingKeys`, ['*']),
    changed(`${statementsOf('RegistryRole')}.2.Condition.ForAllValues:StringLike.dynamodb:LeadingKeys.3`, 'TAG#*'),
    changed(`${statementsOf('RegistryRole')}.2.Condition`, {
      'ForAnyValue:StringLike': { 'dynamodb:LeadingKeys': ['LOCK#*'] },
    }),
    changed(`${statementsOf('RegistryRole')}.1.Action`, ['dynamodb:GetItem', 'dynamodb:PutItem']),
    changed(`${statementsOf('RegistryRole')}.3.Action`, ['s3:GetObject', 's3:PutObject']),
  ],
  onlyTheApiSigns: ['Registry', 'Fetch'].map((name) =>
    changed(`${statementsOf(`${name}Role`)}.1`, {
      Effect: 'Allow',
      Action: ['secretsmanager:GetSecretValue'],
      Resource: [{ Ref: 'SigningSecret' }],
    }),
  ),
  objectsAreReplacedAlone: [
    changed(`${statementsOf('RegistryRole')}.3.Action`, ['s3:DeleteObject']),
    changed(`${statementsOf('FetchRole')}.4.Resource`, [{ 'Fn::Sub': '${Bucket.Arn}/refs/*' }]),
  ],
  invokersAreNamed: [
    without('OverseeRulePermission.Properties.SourceArn'),
    changed('OverseeRulePermission.Properties.Principal', '*'),
  ],
  routesAskWhoCalls: [
    without('HttpApiRoutePostV1Pull.Properties.AuthorizationType'),
    changed('HttpApiRoutePostV1Pull.Properties.AuthorizationType', 'NONE'),
    changed('HttpApiRoutePostV1Pull.Properties.AuthorizationType', 'JWT'),
    changed('HttpApiRoutePostV1Pull.Properties.RouteKey', '$default'),
    changed('HttpApiRouteDefault.Properties.Target', 'integrations/another'),
    changed('HttpApiRouteDefault.Properties.RouteKey', 'ANY /v1/{proxy+}'),
  ],
  busKnowsItsSenders: [
    changed('BusPolicy111122223333.Properties.Statement.Principal', '*'),
    changed('BusPolicy111122223333.Properties.Statement.Action', 'events:*'),
    without('BusPolicy111122223333.Properties.Statement.Condition.StringNotEquals'),
    without('BusPolicy111122223333.Properties.Statement.Condition.StringEquals'),
  ],
  environmentsHoldNoSecrets: [
    changed('ApiLambdaFunction.Properties.Environment.Variables.REGISTRY_PASSWORD', 'x'),
    changed('ApiLambdaFunction.Properties.Environment.Variables.ENTREPOT_SIGNING_SECRET', 'x'),
    changed('ApiLambdaFunction.Properties.Environment.Variables.ENTREPOT_SIGNING_SECRET', { Ref: 'Bucket' }),
  ],
  secretsAreGenerated: [
    without('SigningSecret.Properties.GenerateSecretString'),
    changed('SigningSecret.Properties.GenerateSecretString', { PasswordLength: 31 }),
    changed('SigningSecret.Properties.SecretString', 'x'),
  ],
  functionsRunOnNode24: [
    changed('ApiLambdaFunction.Properties.Runtime', 'nodejs22.x'),
    without('ApiLambdaFunction.Properties.Architectures'),
  ],
  functionsShareOneNetwork: [changed('ApiLambdaFunction.Properties.VpcConfig', { SubnetIds: ['subnet-1'] })],
  queuesAreEncrypted: [
    without('FailedEvents.Properties.SqsManagedSseEnabled'),
    without('ContentDeleted.Properties.SqsManagedSseEnabled'),
  ],
  queuesTakeTlsOnly: [
    without('FailedEventsPolicy'),
    without('UndeliveredEventsPolicy.Properties.PolicyDocument.Statement.0'),
    without('ContentDeletedPolicy.Properties.PolicyDocument.Statement.0'),
  ],
  queuesKnowTheirSenders: [
    changed(`${deletionsPolicy}.Principal`, '*'),
    changed(`${deletionsPolicy}.Action`, 'sqs:*'),
    without(`${deletionsPolicy}.Condition`),
    changed(`${deletionsPolicy}.Condition.ArnEquals`, { 'aws:SourceArn': ['arn:aws:events:*:*:rule/*'] }),
    changed('UndeliveredEventsPolicy.Properties.PolicyDocument.Statement.1.Condition', { Bool: {} }),
  ],
  failedMessagesAreKept: [
    without('ContentDeletedMapping.Properties.FunctionResponseTypes'),
    without('ContentDeletedMapping.Properties.ScalingConfig'),
    without('ContentDeleted.Properties.RedrivePolicy'),
    changed('ContentDeleted.Properties.RedrivePolicy.maxReceiveCount', 1),
    changed('ContentDeleted.Properties.VisibilityTimeout', 360),
    changed('EventsLambdaFunction.Properties.Timeout', 61),
    without('FailedEvents'),
  ],
  undeliveredEventsAreKept: [
    without('PullRequestRule.Properties.Targets.0.DeadLetterConfig'),
    without('PullRequestRule.Properties.Targets.0.RetryPolicy'),
    without(`${schedule}.Properties.Target.DeadLetterConfig`),
    without('UndeliveredEvents'),
  ],
  failedEventsAreKept: [
    without('WarmupLambdaEvConf'),
    without('OverseeLambdaEvConf.Properties.DestinationConfig'),
    without('OverseeLambdaEvConf.Properties.MaximumEventAgeInSeconds'),
  ],
  rulesDoNotHearUs: [without('PullRequestRule.Properties.EventPattern.source')],
  logsExpire: [without('HttpApiLogGroup.Properties.RetentionInDays')],
  functionsHaveLogGroups: [without('CopyLogGroup')],
  apiIsLoggedAndThrottled: [
    without('HttpApiStage.Properties.AccessLogSettings'),
    without('HttpApiStage.Properties.DefaultRouteSettings'),
  ],
  workflowIsStandardAndLogged: [
    changed('Workflow.Properties.StateMachineType', 'EXPRESS'),
    without('Workflow.Properties.LoggingConfiguration'),
  ],
  failuresAreWatched: [
    without('CredentialsRejectedAlarm'),
    without('OldestRunningPullAlarm'),
    without('WorkflowTimedOutAlarm'),
    without('ApiErrorsAlarm'),
    without('FailedEventsAlarm'),
    without('DeletionsWaitAlarm'),
  ],
};

/** The same for what is there behind a load balancer alone. */
const LOSSES_BEHIND_ALB: Readonly<Record<string, readonly Loss[]>> = {
  loadBalancersAreInside: [
    changed('LoadBalancer.Properties.Scheme', 'internet-facing'),
    without('LoadBalancer.Properties.SecurityGroups'),
    changed('LoadBalancer.Properties.LoadBalancerAttributes.0.Value', 'false'),
    changed('LoadBalancerListener.Properties.Protocol', 'HTTP'),
    changed('LoadBalancerListener.Properties.SslPolicy', 'ELBSecurityPolicy-2016-08'),
    without('LoadBalancerListener.Properties.Certificates'),
  ],
  invokersAreNamed: [without('LoadBalancerPermission.Properties.SourceArn')],
  failuresAreWatched: [without('LoadBalancerFailuresAlarm')],
};

describe('the security properties of the templates', () => {
  test('hold, with every parameter and without any', () => {
    assert.deepEqual(violations(iam), []);
    assert.deepEqual(violations(jwt), []);
    assert.deepEqual(violations(alb), []);
  });

  test('hold for the plain template', () => {
    const zips = FUNCTIONS.map((name) => ({ name, path: name, bytes: 1, sha256: '0'.repeat(64) }));
    assert.deepEqual(violations(plainTemplate(iam, zips)), []);
    assert.deepEqual(violations(plainTemplate(jwt, zips)), []);
    assert.deepEqual(violations(plainTemplate(alb, zips)), []);
  });

  test('each has ways to lose it', () => {
    const losses = new Set([...Object.keys(LOSSES), ...Object.keys(LOSSES_BEHIND_ALB)]);
    assert.deepEqual([...losses].sort(), Object.keys(CHECKS).sort());
  });

  for (const [name, losses] of Object.entries(LOSSES)) {
    test(`${name}: sees each of ${losses.length} ways to lose it`, () => {
      for (const loss of losses) assert.notDeepEqual(CHECKS[name]!(mutated(iam, loss)), [], `not seen: ${loss.what}`);
    });
  }

  for (const [name, losses] of Object.entries(LOSSES_BEHIND_ALB)) {
    test(`${name}, behind a load balancer: sees each of ${losses.length} ways to lose it`, () => {
      for (const loss of losses) assert.notDeepEqual(CHECKS[name]!(mutated(alb, loss)), [], `not seen: ${loss.what}`);
    });
  }

  test('failuresAreWatched: sees that nobody watches throttles', () => {
    const unwatched = mutated(iam, without('ThrottlesAlarm'), without('CopyThrottlesAlarm'));
    assert.deepEqual(CHECKS.failuresAreWatched!(unwatched), ['no alarm watches Throttles']);
  });

  test('routesAskWhoCalls: sees a JWT authoriser without audience or issuer', () => {
    const [id] = Object.keys(jwt.Resources).filter(
      (one) => jwt.Resources[one]?.Type === 'AWS::ApiGatewayV2::Authorizer',
    );
    for (const lost of ['Audience', 'Issuer']) {
      const open = mutated(jwt, without(`${id}.Properties.JwtConfiguration.${lost}`));
      // And the route of every other path below /v1/.
      assert.equal(CHECKS.routesAskWhoCalls!(open).length, ROUTES.length + 1);
    }
  });

  test('bucketsAreEncrypted: sees a key without the bucket key', () => {
    const rule = 'Bucket.Properties.BucketEncryption.ServerSideEncryptionConfiguration.0';
    assert.equal(CHECKS.bucketsAreEncrypted!(mutated(jwt, without(`${rule}.BucketKeyEnabled`))).length, 1);
  });
});
