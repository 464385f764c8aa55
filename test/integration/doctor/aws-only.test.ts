import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Value } from '../../../infra/cloudformation.ts';
import { bucketPolicy } from '../../../infra/resources/storage.ts';
import { API_CHECKS, openApiFixture } from '../../../lib/doctor/api-checks.ts';
import { ContradictionError, SkipError, type Check } from '../../../lib/doctor/check.ts';
import { DYNAMO_TABLE_CHECKS, openDynamoFixture } from '../../../lib/doctor/dynamo-table-checks.ts';
import { EVENTS_CHECKS, openEventsFixture } from '../../../lib/doctor/events-checks.ts';
import { openPlatformFixture, PLATFORM_CHECKS } from '../../../lib/doctor/platform-checks.ts';
import { S3_BUCKET_CHECKS } from '../../../lib/doctor/s3-bucket-checks.ts';
import { openS3Fixture } from '../../../lib/doctor/s3-fixture.ts';
import { openSfnFixture, SFN_CHECKS } from '../../../lib/doctor/sfn-checks.ts';
import { requestsIn, type HttpAnswer, type Requests } from '../../../lib/doctor/sigv4-requests.ts';
import type { Target } from '../../../lib/doctor/target.ts';
import { startFaultProxy, type FaultProxy, type FaultRule } from '../../support/http-fault-proxy.ts';
import { startStack, type TestStack } from '../../support/stack.ts';

/*
 * The checks of what only AWS has, against answers as AWS's documentation shows them: that they pass those, and no others.
 */

let stack: TestStack;
let proxy: FaultProxy;
let target: Target;
const forever = new AbortController().signal;
const variables = ['S3', 'DYNAMODB', 'SFN', 'EVENTBRIDGE'].map((service) => `AWS_ENDPOINT_URL_${service}`);

before(async () => {
  stack = await startStack();
  proxy = await startFaultProxy(stack.s3Endpoint);
  Object.assign(process.env, stack.environment);
  for (const variable of variables) process.env[variable] = proxy.endpoint;
  target = {
    url: 'https://cache.example.test',
    isLocal: true,
    region: stack.region,
    requests: requestsIn(stack.region),
    deployment: {
      version: '0.1.0',
      region: stack.region,
      stage: 'dev',
      bucket: stack.bucket,
      table: stack.table,
      stateMachine: 'arn:aws:states:us-east-1:123456789012:stateMachine:entrepot-dev-pull',
      bus: 'entrepot-dev',
      serve: { front: 'httpApi', auth: 'basic', blobEndpoint: null },
      caller: 'arn:aws:iam::123456789012:role/ci',
    },
  };
});
after(async () => {
  await proxy.close();
  await stack.close();
});

type Canned = Partial<FaultRule> & { readonly status?: number; readonly body?: string | object };

const ruleOf = ({ status = 200, body = '', ...rule }: Canned): FaultRule => ({
  times: Infinity,
  ...rule,
  action: {
    kind: 'answer',
    answer: {
      status,
      headers: typeof body === 'string' ? {} : { 'content-type': 'application/x-amz-json-1.0' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    },
  },
});

/** What the check says where the service answers so. */
async function look<Scene extends AsyncDisposable>(
  checks: readonly Check<Scene>[],
  id: string,
  open: (target: Target) => Scene | SkipError,
  canned: readonly Canned[],
  seen: Target = target,
): Promise<string> {
  proxy.rules.splice(0, Infinity, ...canned.map(ruleOf));
  const check = checks.find((one) => one.id === id);
  assert.ok(check !== undefined, id);
  const opened = open(seen);
  assert.ok(!(opened instanceof SkipError));
  await using fixture = opened;
  return await check.run(fixture, forever);
}

const contradicted = (look: Promise<string>): Promise<void> => assert.rejects(look, ContradictionError);

const bucket = (id: string, ...canned: Canned[]) => look(S3_BUCKET_CHECKS, id, openS3Fixture, canned);
const denied: Canned = { status: 403, body: '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' };

test('objects without If-None-Match are refused', async () => {
  await bucket('s3-policy-create-only', { method: 'PUT', path: /\/(?:blobs|plans|refs)\/doctor-/, ...denied });
  // The embedded S3 has no policy: it takes them.
  await contradicted(bucket('s3-policy-create-only', { method: 'PUT', path: /\/blobs\//, ...denied }));
  await contradicted(bucket('s3-policy-create-only'));
});

test('parts pass, and Complete without If-None-Match does not', async () => {
  await bucket('s3-policy-parts', { method: 'POST', path: /\?uploadId/, ...denied });
  await contradicted(bucket('s3-policy-parts'));
  // A policy that refuses the parts themselves is no answer to be content with.
  await assert.rejects(bucket('s3-policy-parts', { method: 'PUT', path: /partNumber/, ...denied }), /AccessDenied/);
});

test('nothing of that stays in the bucket', async () => {
  const { S3Client, ListObjectsV2Command, ListMultipartUploadsCommand } = await import('@aws-sdk/client-s3');
  const client = new S3Client({ ...stack.s3Config, forcePathStyle: true });
  assert.equal((await client.send(new ListObjectsV2Command({ Bucket: stack.bucket }))).KeyCount, 0);
  const { Uploads: uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: stack.bucket }));
  assert.deepEqual(uploads, []);
  client.destroy();
});

test('the policy of our own template refuses what is not TLS', async () => {
  const policy = (document: Value): Canned => ({ method: 'GET', path: /\?policy/, body: JSON.stringify(document) });
  await bucket('s3-policy-tls', policy(bucketPolicy('arn:aws:s3:::b', (prefix) => `arn:aws:s3:::b/${prefix}*`)));
  await contradicted(bucket('s3-policy-tls', policy({ Version: '2012-10-17', Statement: [] })));
});

test('settings of the bucket', async () => {
  const block = (restricts: boolean): Canned => ({
    path: /\?publicAccessBlock/,
    body: `<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>${restricts}</RestrictPublicBuckets></PublicAccessBlockConfiguration>`,
  });
  await bucket('s3-public-access', block(true));
  await contradicted(bucket('s3-public-access', block(false)));

  const encryption = (algorithm: string, more = ''): Canned => ({
    path: /\?encryption/,
    body: `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>${algorithm}</SSEAlgorithm></ApplyServerSideEncryptionByDefault>${more}</Rule></ServerSideEncryptionConfiguration>`,
  });
  await bucket('s3-encryption', encryption('AES256'));
  await bucket('s3-encryption', encryption('aws:kms', '<BucketKeyEnabled>true</BucketKeyEnabled>'));
  await contradicted(bucket('s3-encryption', encryption('aws:kms')));

  const plans =
    '<Rule><Status>Enabled</Status><Filter><Prefix>plans/</Prefix></Filter><Expiration><Days>7</Days></Expiration></Rule>';
  const uploads = (days: number): string =>
    `<Rule><Status>Enabled</Status><Prefix></Prefix><AbortIncompleteMultipartUpload><DaysAfterInitiation>${days}</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>`;
  const lifecycle = (...rules: string[]): Canned => ({
    path: /\?lifecycle/,
    body: `<LifecycleConfiguration>${rules.join('')}</LifecycleConfiguration>`,
  });
  await bucket('s3-lifecycle', lifecycle(uploads(7), plans));
  const older = '<Rule><Status>Enabled</Status><Prefix>plans/</Prefix><Expiration><Days>7</Days></Expiration></Rule>';
  await bucket('s3-lifecycle', lifecycle(uploads(7), older));
  await contradicted(bucket('s3-lifecycle', lifecycle(uploads(1), plans)));
  await contradicted(bucket('s3-lifecycle', lifecycle(uploads(7))));
  await contradicted(bucket('s3-lifecycle', lifecycle(plans)));

  const notifications = (content: string): Canned => ({
    path: /\?notification/,
    body: `<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</NotificationConfiguration>`,
  });
  await bucket('s3-notifications', notifications('<EventBridgeConfiguration></EventBridgeConfiguration>'));
  await bucket('s3-notifications', notifications('<EventBridgeConfiguration/>'));
  await contradicted(bucket('s3-notifications', notifications('')));
  const queue = '<Queue>arn:aws:sqs:us-east-1:123456789012:q</Queue><Event>s3:ObjectRemoved:*</Event>';
  await contradicted(
    bucket('s3-notifications', notifications(`<QueueConfiguration><Id>x</Id>${queue}</QueueConfiguration>`)),
  );
});

test('settings of the table', async () => {
  const table = (id: string, operation: string, body: object) => {
    const described = { headers: { 'x-amz-target': new RegExp(`${operation}$`) }, body };
    // Whatever the check did not write need not be taken away.
    const empty = { headers: { 'x-amz-target': /Query$/ }, body: { Items: [], Count: 0 } };
    return look(DYNAMO_TABLE_CHECKS, id, openDynamoFixture, [described, empty]);
  };
  const backups = (status: string) => ({
    ContinuousBackupsDescription: {
      ContinuousBackupsStatus: 'ENABLED',
      PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: status },
    },
  });
  await table('dynamo-pitr', 'DescribeContinuousBackups', backups('ENABLED'));
  await contradicted(table('dynamo-pitr', 'DescribeContinuousBackups', backups('DISABLED')));
  const protection = (on: boolean) => ({ Table: { DeletionProtectionEnabled: on } });
  await table('dynamo-deletion-protection', 'DescribeTable', protection(true));
  await contradicted(table('dynamo-deletion-protection', 'DescribeTable', protection(false)));
});

test('state machine and event bus', async () => {
  const machine = (type: string) =>
    look(SFN_CHECKS, 'sfn-standard', openSfnFixture, [{ body: { type, status: 'ACTIVE' } }]);
  await machine('STANDARD');
  await contradicted(machine('EXPRESS'));
  const bus = (body: object) => look(EVENTS_CHECKS, 'events-bus', openEventsFixture, [{ body }]);
  await bus({ Name: 'entrepot-dev', Arn: 'arn:aws:events:us-east-1:123456789012:event-bus/entrepot-dev' });
  await contradicted(bus({}));
});

/** Requests that are answered so, by host and path. */
function answering(answers: (url: URL, isSigned: boolean) => { status?: number; body: string | object }): Target {
  const answer = (url: URL, isSigned: boolean): Promise<HttpAnswer> => {
    const { status = 200, body } = answers(url, isSigned);
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return Promise.resolve({ status, text, headers: new Headers(), durationMs: 1 });
  };
  const requests: Requests = {
    plain: ({ url }) => answer(url, false),
    signed: (_service, { url }) => answer(url, true),
  };
  return { ...target, requests };
}

test('who nobody signed for is refused by the gateway itself', async () => {
  const unsigned = (status: number, body: object, token?: string) => {
    const answers = answering((_, isSigned) => (isSigned ? { body: {} } : { status, body }));
    const seen = token === undefined ? answers : { ...answers, token };
    return look(API_CHECKS, 'api-unsigned', openApiFixture, [], seen);
  };
  await unsigned(403, { message: 'Forbidden' });
  await unsigned(401, { message: 'Unauthorized' }, 'token');
  await contradicted(unsigned(200, {}));
  await contradicted(unsigned(403, { message: 'Forbidden' }, 'token'));
  await contradicted(unsigned(403, { status: 403, requestId: 'x' }));
});

test('the caller is compared with what STS says', async () => {
  const caller = (arn: string) =>
    look(
      API_CHECKS,
      'api-caller',
      openApiFixture,
      [],
      answering(({ host }) => {
        assert.equal(host, 'sts.us-east-1.amazonaws.com');
        return { body: `<GetCallerIdentityResponse><Arn>${arn}</Arn></GetCallerIdentityResponse>` };
      }),
    );
  await caller('arn:aws:sts::123456789012:assumed-role/ci/session');
  await contradicted(caller('arn:aws:sts::123456789012:assumed-role/other/session'));
});

test('functions and their metrics', async () => {
  const configuration = { Runtime: 'nodejs24.x', Architectures: ['arm64'], State: 'Active' };
  const runtime = (odd: object) => {
    const answers = answering(({ pathname }) => {
      assert.match(pathname, /^\/2015-03-31\/functions\/entrepot-dev-[a-z]+\/configuration$/);
      return { body: { ...configuration, ...(pathname.includes('-copy/') ? odd : {}) } };
    });
    return look(PLATFORM_CHECKS, 'lambda-runtime', openPlatformFixture, [], answers);
  };
  await runtime({});
  for (const odd of [{ Runtime: 'nodejs20.x' }, { Architectures: ['x86_64'] }, { State: 'Failed' }]) {
    await contradicted(runtime(odd));
  }
  const metrics = (Datapoints: readonly object[]) =>
    look(
      PLATFORM_CHECKS,
      'cloudwatch-emf',
      openPlatformFixture,
      [],
      answering(() => ({ body: { Datapoints } })),
    );
  await metrics([{ SampleCount: 1 }]);
  await contradicted(metrics([]));
});

test('what is signed is signed as AWS wants it', async () => {
  proxy.rules.length = 0;
  const url = new URL(`${proxy.endpoint}/${stack.bucket}?list-type=2&prefix=a%20b%2Bc&max-keys=1`);
  const headers = { 'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' };
  const signed = await requestsIn(stack.region).signed('s3', { method: 'GET', url, headers }, forever);
  assert.equal(signed.status, 200, signed.text);
  assert.match(signed.text, /<KeyCount>0<\/KeyCount>/);
  const plain = await requestsIn(stack.region).plain({ method: 'GET', url, headers }, forever);
  assert.equal(plain.status, 403);
});
