import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { application, type Application } from '../../../infra/application.ts';
import { ROOT } from '../../../infra/bundles.ts';
import type { Resource } from '../../../infra/cloudformation.ts';
import { FUNCTIONS, roleId, type FunctionName } from '../../../infra/names.ts';
import { packageConfig } from '../../../infra/packaging/inputs.ts';
import { stackSettings, type ParameterName } from '../../../infra/settings.ts';
import { tableDefinition } from '../../../infra/table.ts';
import { ALB_PARAMETERS, BEHIND_ALB, EVERYTHING, KEY_ARN, LITTLE } from '../../support/packaged-config.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-application-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function made(yaml: string, parameters: Partial<Record<ParameterName, string>> = {}): Promise<Application> {
  await writeFile(join(folder, 'entrepot.yaml'), yaml);
  return application(stackSettings('dev', parameters), packageConfig(folder, undefined));
}

const ALB = Object.fromEntries(ALB_PARAMETERS.map((one) => one.split('=') as [ParameterName, string]));

const resource = (of: Application, id: string): Resource => {
  const found = of.resources.Resources[id];
  assert.ok(found, `${id} is not there`);
  return found;
};

interface Statement {
  readonly Effect: string;
  readonly Action: readonly string[];
  readonly Resource: readonly unknown[];
  readonly Condition?: unknown;
}

function statements(of: Application, id: string): readonly Statement[] {
  const [policy] = resource(of, id).Properties?.Policies as unknown as {
    PolicyDocument: { Statement: readonly Statement[] };
  }[];
  return policy!.PolicyDocument.Statement;
}

const resourcesFor = (of: Application, name: FunctionName, action: string): readonly unknown[] =>
  statements(of, roleId(name))
    .filter(({ Effect, Action }) => Effect === 'Allow' && Action.includes(action))
    .flatMap((statement) => statement.Resource);

const isSigningSecret = (named: unknown): boolean => JSON.stringify(named) === '{"Ref":"SigningSecret"}';

describe('the application', () => {
  test('is the same for the same input', async () => {
    assert.deepEqual(await made(EVERYTHING), await made(EVERYTHING));
  });

  test('makes the table of the local stack', async () => {
    const { Properties } = resource(await made(LITTLE), 'Table');
    const { KeySchema, AttributeDefinitions, BillingMode } = tableDefinition('x');
    assert.deepEqual(
      [Properties?.KeySchema, Properties?.AttributeDefinitions, Properties?.BillingMode],
      [KeySchema, AttributeDefinitions, BillingMode],
    );
  });

  test('leaves an existing bucket and table alone, and confines its roles to them', async () => {
    const of = await made(LITTLE, { bucket: 'my-bucket', table: 'my-table' });
    for (const id of ['Bucket', 'BucketPolicy', 'Table']) assert.equal(of.resources.Resources[id], undefined);
    assert.deepEqual([of.environment.ENTREPOT_BUCKET, of.environment.ENTREPOT_TABLE], ['my-bucket', 'my-table']);
    assert.deepEqual(resourcesFor(of, 'copy', 's3:PutObject'), [
      { 'Fn::Sub': 'arn:${AWS::Partition}:s3:::my-bucket/blobs/*' },
    ]);
    assert.deepEqual(resourcesFor(of, 'copy', 's3:ListBucket'), [
      { 'Fn::Sub': 'arn:${AWS::Partition}:s3:::my-bucket' },
    ]);
    assert.deepEqual(resourcesFor(of, 'api', 'dynamodb:GetItem'), [
      { 'Fn::Sub': 'arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/my-table' },
    ]);
  });

  test('lets only the functions that dial registries read their credentials, and only the configured ones', async () => {
    const of = await made(EVERYTHING);
    const credentialsOf = (name: FunctionName): readonly unknown[] =>
      resourcesFor(of, name, 'secretsmanager:GetSecretValue').filter((secret) => !isSigningSecret(secret));
    assert.deepEqual(
      FUNCTIONS.filter((name) => credentialsOf(name).length > 0),
      ['fetch', 'pull', 'plan', 'copy', 'warmup'],
    );
    assert.deepEqual(resourcesFor(of, 'plan', 'secretsmanager:GetSecretValue'), [
      {
        'Fn::Sub':
          'arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:example/registry-??????',
      },
    ]);
    assert.deepEqual(resourcesFor(of, 'plan', 'sts:AssumeRole'), ['arn:aws:iam::210987654321:role/reader']);
    assert.deepEqual(resourcesFor(of, 'plan', 'ecr:BatchGetImage'), [
      { 'Fn::Sub': 'arn:${AWS::Partition}:ecr:eu-central-1:123456789012:repository/*' },
    ]);
    assert.deepEqual(resourcesFor(of, 'plan', 'ecr:GetAuthorizationToken'), ['*']);
  });

  test('lets ECR be read as far as "allow" says, and no further', async () => {
    const arns = async (...allow: string[]): Promise<unknown[]> => {
      const of = await made(
        `registries: { 123456789012.dkr.ecr.eu-central-1.amazonaws.com: { allow: ${JSON.stringify(allow)} } }`,
      );
      return FUNCTIONS.flatMap((name) => resourcesFor(of, name, 'ecr:BatchGetImage')).map((named) =>
        (named as { 'Fn::Sub': string })['Fn::Sub'].replace(/^.*repository\//, ''),
      );
    };
    const five = (...patterns: string[]): string[] =>
      ['fetch', 'pull', 'plan', 'copy', 'warmup'].flatMap(() => patterns);
    assert.deepEqual(
      await arns('{team,other}/**', 'app[12]'),
      five('team', 'team/*', 'other', 'other/*', 'app1', 'app2'),
    );
    assert.deepEqual(await arns('**'), five('*'));
    assert.deepEqual(await arns('[A-Z]/**'), []);
    await assert.rejects(arns('team/**', '!team/secret'), /allow\[1\]: "!team\/secret" is not a glob pattern/);
    await assert.rejects(arns(`${'{a,b}'.repeat(7)}/**`), /stands for more than 100 patterns of IAM/);
  });

  test('lets the functions that announce put events on its bus, and no other', async () => {
    const of = await made(LITTLE);
    const announcers = FUNCTIONS.filter((name) => resourcesFor(of, name, 'events:PutEvents').length > 0);
    assert.deepEqual(announcers, ['pull', 'plan', 'publish', 'fail', 'oversee', 'warmup']);
  });

  test('gives no right over credentials where none are configured', async () => {
    const of = await made(LITTLE);
    for (const name of FUNCTIONS) {
      const actions = statements(of, roleId(name))
        .filter((statement) => !statement.Resource.every(isSigningSecret))
        .flatMap(({ Action }) => Action);
      const found = actions.filter((action) => /^(?:secretsmanager|sts|ecr|kms|ec2):/.test(action));
      assert.deepEqual(found, [], name);
    }
  });

  test('makes the secret that signs passwords, and lets only the function that signs read it', async () => {
    const of = await made(LITTLE, { kmsKeyArn: KEY_ARN });
    const { Properties, DeletionPolicy } = resource(of, 'SigningSecret');
    assert.deepEqual([Properties?.KmsKeyId, Properties?.Name, DeletionPolicy], [KEY_ARN, undefined, 'Delete']);
    assert.equal(resource(await made(LITTLE), 'SigningSecret').Properties?.KmsKeyId, undefined);
    assert.ok(isSigningSecret(of.environment.ENTREPOT_SIGNING_SECRET));
    const readers = FUNCTIONS.filter((name) =>
      resourcesFor(of, name, 'secretsmanager:GetSecretValue').some(isSigningSecret),
    );
    assert.deepEqual(readers, ['api']);
    assert.deepEqual(resourcesFor(of, 'api', 'secretsmanager:GetSecretValue'), [{ Ref: 'SigningSecret' }]);
    assert.ok(JSON.stringify(statements(of, 'ApiRole')).includes('secretsmanager.${AWS::Region}'));
  });

  test('a secret by its ARN is that secret', async () => {
    const arn = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:hub-AbCdEf';
    const of = await made(`registries: { docker.io: { credentials: { secret: '${arn}' }, allow: ['**'] } }`);
    assert.deepEqual(resourcesFor(of, 'copy', 'secretsmanager:GetSecretValue'), [arn]);
  });

  test('uses a given key for bucket and table, and lets functions use it through those services alone', async () => {
    const of = await made(LITTLE, { kmsKeyArn: KEY_ARN });
    const ofPlan = statements(of, 'PlanRole').filter(({ Resource: named }) => named.includes(KEY_ARN));
    assert.deepEqual(
      ofPlan.map(({ Condition }) => Condition),
      [
        {
          StringEquals: {
            'kms:ViaService': ['dynamodb', 's3'].map((service) => ({
              'Fn::Sub': `${service}.\${AWS::Region}.\${AWS::URLSuffix}`,
            })),
          },
        },
      ],
    );
    assert.match(
      JSON.stringify(resource(of, 'Bucket')),
      new RegExp(`"KMSMasterKeyID":"${KEY_ARN}".*"BucketKeyEnabled":true`),
    );
    assert.match(JSON.stringify(resource(of, 'Table')), new RegExp(`"KMSMasterKeyId":"${KEY_ARN}"`));
  });

  test('in a VPC, Lambda may make network interfaces and the code may not', async () => {
    const of = await made(LITTLE, {
      vpcSubnetIds: 'subnet-0123456789abcdef0',
      vpcSecurityGroupIds: 'sg-0123456789abcdef0',
    });
    assert.deepEqual(of.vpc, {
      subnetIds: ['subnet-0123456789abcdef0'],
      securityGroupIds: ['sg-0123456789abcdef0'],
    });
    const network = statements(of, 'FailRole').filter(({ Action }) => Action.includes('ec2:CreateNetworkInterface'));
    assert.deepEqual(
      network.map(({ Effect }) => Effect),
      ['Allow', 'Deny'],
    );
    assert.match(JSON.stringify(network[1]?.Condition), /function:entrepot-dev-fail"/);
  });

  test('schedules each warm-up in its time zone, with the scheduled time in its input', async () => {
    const of = await made(EVERYTHING);
    const [schedule, ...others] = Object.values(of.resources.Resources).filter(
      ({ Type }) => Type === 'AWS::Scheduler::Schedule',
    );
    assert.equal(others.length, 0);
    const { Name, ScheduleExpression, ScheduleExpressionTimezone, Target } = schedule?.Properties ?? {};
    assert.deepEqual(
      [Name, ScheduleExpression, ScheduleExpressionTimezone],
      ['nightly', 'cron(0 3 * * ? *)', 'Europe/Berlin'],
    );
    assert.deepEqual(JSON.parse((Target as { Input: string }).Input), {
      warmup: 'nightly',
      scheduledTime: '<aws.scheduler.scheduled-time>',
    });
  });

  test('has no schedules and no role for them without warm-ups', async () => {
    const { Resources } = (await made(LITTLE)).resources;
    assert.deepEqual(
      [Resources.Schedules, Resources.SchedulerRole, Resources.EcrPushRule],
      [undefined, undefined, undefined],
    );
  });

  test('hears pushes to the listed repositories of ECR', async () => {
    const rule = resource(await made(EVERYTHING), 'EcrPushRule');
    const { detail } = rule.Properties?.EventPattern as { detail: Record<string, unknown> };
    assert.deepEqual(detail['repository-name'], ['team', { wildcard: 'team/*' }, 'one']);
  });

  test('hears of no more than EventBridge can say', async () => {
    const ofPushes = async (pattern: string): Promise<unknown> => {
      const of = await made(
        `registries: { 123456789012.dkr.ecr.eu-central-1.amazonaws.com: { allow: ['**'] } }
events: { ecrPushes: ['${pattern}'] }`,
      );
      const rule = of.resources.Resources.EcrPushRule?.Properties?.EventPattern as
        { detail: Record<string, unknown> } | undefined;
      return rule?.detail['repository-name'];
    };
    assert.deepEqual(await ofPushes('{a,b}/x??*-y'), [{ wildcard: 'a/x*-y' }, { wildcard: 'b/x*-y' }]);
    assert.deepEqual(await ofPushes('{a?,a*}'), [{ wildcard: 'a*' }]);
    assert.equal(await ofPushes('[A-Z]'), undefined);
  });

  test('has deletions come through a queue that the rule alone fills and `events` alone reads', async () => {
    const of = await made(LITTLE);
    const queue = { 'Fn::GetAtt': ['ContentDeleted', 'Arn'] };
    const [target] = resource(of, 'ContentDeletedRule').Properties?.Targets as unknown as Record<string, unknown>[];
    assert.deepEqual(target?.Arn, queue);
    assert.equal(of.resources.Resources.ContentDeletedRulePermission, undefined);
    const { Properties } = resource(of, 'ContentDeletedMapping');
    assert.deepEqual(
      [Properties?.EventSourceArn, Properties?.FunctionName, Properties?.ScalingConfig],
      [queue, { 'Fn::GetAtt': ['EventsLambdaFunction', 'Arn'] }, { MaximumConcurrency: 2 }],
    );
    const policy = resource(of, 'ContentDeletedPolicy').Properties?.PolicyDocument as unknown as {
      Statement: (Statement & { readonly Principal: unknown })[];
    };
    const allowed = policy.Statement.filter(({ Effect }) => Effect === 'Allow');
    assert.deepEqual(
      allowed.map(({ Principal, Action, Condition }) => [Principal, Action, Condition]),
      [
        [
          { Service: 'events.amazonaws.com' },
          'sqs:SendMessage',
          { ArnEquals: { 'aws:SourceArn': [{ 'Fn::GetAtt': ['ContentDeletedRule', 'Arn'] }] } },
        ],
      ],
    );
    assert.deepEqual(
      FUNCTIONS.filter((name) => resourcesFor(of, name, 'sqs:ReceiveMessage').length > 0),
      ['events'],
    );
    assert.deepEqual(resourcesFor(of, 'events', 'sqs:DeleteMessage'), [queue]);
    const redrive = resource(of, 'ContentDeleted').Properties?.RedrivePolicy as { deadLetterTargetArn: unknown };
    assert.deepEqual(redrive.deadLetterTargetArn, { 'Fn::GetAtt': ['FailedEvents', 'Arn'] });
  });

  test('asks for a JWT where the configuration describes one, else for IAM', async () => {
    assert.deepEqual((await made(LITTLE)).authorizer, { type: 'aws_iam' });
    const of = await made(EVERYTHING);
    assert.deepEqual(of.authorizer, { name: 'callers' });
    assert.deepEqual(of.authorizers, {
      callers: {
        type: 'jwt',
        identitySource: '$request.header.Authorization',
        issuerUrl: 'https://issuer.example.test',
        audience: ['entrepot'],
      },
    });
  });

  test('puts the registry endpoint behind the door that the configuration names, and no other', async () => {
    const open = await made(LITTLE);
    assert.deepEqual(open.registryEvents, [{ httpApi: '*' }]);
    assert.equal(open.resources.Resources.LoadBalancer, undefined);
    const { HttpApiStage, HttpApiIntegrationRegistry } = open.resources.extensions;
    assert.deepEqual(HttpApiStage?.DependsOn, ['HttpApiRouteDefault']);
    assert.deepEqual(HttpApiStage.Properties?.RouteSettings, {
      $default: { ThrottlingRateLimit: 1_000, ThrottlingBurstLimit: 2_000 },
    });
    assert.match(JSON.stringify(HttpApiIntegrationRegistry), /"overwrite:header\.www-authenticate","Source":"Basic /);

    const inside = await made(BEHIND_ALB, ALB);
    assert.deepEqual(inside.registryEvents, []);
    const { Properties } = resource(inside, 'LoadBalancerTargets');
    assert.deepEqual(Properties?.Targets, [{ Id: { 'Fn::GetAtt': ['RegistryLambdaFunction', 'Arn'] } }]);
    assert.deepEqual(Object.keys(inside.resources.extensions), ['HttpApiStage']);
    assert.equal(inside.resources.extensions.HttpApiStage?.Properties?.RouteSettings, undefined);
    await assert.rejects(made(BEHIND_ALB), /serve\.front is alb: give the parameters albSubnetIds/);
    await assert.rejects(made(LITTLE, ALB), /set serve\.front to alb/);
  });

  test('lets the registry endpoint write rows of locks, of pulls and of who waits, and no other', async () => {
    const writes = statements(await made(EVERYTHING), 'RegistryRole').filter(({ Action }) =>
      Action.some((action) => /^dynamodb:(?!BatchGet|Get|Query)/.test(action)),
    );
    const partitions = ['LOCK#*', 'PULL#*', 'ACTIVE#*', 'WAITING#*'];
    assert.deepEqual(
      writes.map(({ Action, Condition }) => [Action, Condition]),
      [
        [
          ['dynamodb:UpdateItem'],
          {
            'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': partitions },
            Null: { 'dynamodb:LeadingKeys': 'false' },
          },
        ],
      ],
    );
  });

  test('lets only the functions that put content take away what is wrong in its place', async () => {
    const of = await made(EVERYTHING);
    const deleters = FUNCTIONS.filter((name) => resourcesFor(of, name, 's3:DeleteObject').length > 0);
    assert.deepEqual(deleters, ['fetch', 'pull', 'plan', 'copy']);
    const writers = FUNCTIONS.filter((name) =>
      resourcesFor(of, name, 's3:PutObject').some((named) => JSON.stringify(named).includes('/blobs/')),
    );
    assert.deepEqual(writers, deleters);
  });

  test('lets the registry endpoint read content, ask the function that asks registries, and nothing more of either', async () => {
    const of = await made(EVERYTHING);
    const actions = statements(of, 'RegistryRole').flatMap(({ Action }) => Action);
    const other = actions.filter((action) => !/^(?:dynamodb|logs|states):/.test(action));
    assert.deepEqual(other.sort(), ['lambda:InvokeFunction', 's3:GetObject', 's3:ListBucket']);
    assert.deepEqual(resourcesFor(of, 'registry', 's3:GetObject'), [{ 'Fn::Sub': '${Bucket.Arn}/blobs/*' }]);
    assert.deepEqual(resourcesFor(of, 'registry', 'lambda:InvokeFunction'), [
      { 'Fn::Sub': 'arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:entrepot-dev-fetch' },
    ]);
  });

  test('gives copying the memory that the limits need, and refuses limits that no function can hold', async () => {
    assert.equal((await made(LITTLE)).copyMemory, 1769);
    const wide = `${LITTLE}limits: { parallelBlobs: 16, windowParts: 8, partBytes: 33554432 }\n`;
    assert.equal((await made(wide)).copyMemory, 16 * 8 * 32 + 384);
    const wider = `${LITTLE}limits: { parallelBlobs: 64, windowParts: 64, partBytes: 33554432 }\n`;
    await assert.rejects(made(wider), /need 131456 MiB of memory.*lower one of them/);
  });
});

test('docs/operations.md says for every alarm what to do', async () => {
  const page = await readFile(join(ROOT, 'docs', 'operations.md'), 'utf8');
  const { Resources } = (await made(BEHIND_ALB, ALB)).resources;
  const alarms = Object.keys(Resources).filter((id) => Resources[id]?.Type === 'AWS::CloudWatch::Alarm');
  assert.deepEqual(
    alarms.filter((id) => !page.includes(`**${id}**`)),
    [],
  );
});
