import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import { ListMultipartUploadsCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LocalApplication } from '../../../infra/local/app/application.ts';
import type { SampleRegistry } from '../../../infra/local/sample/sample-registry.ts';
import { CHECK_GROUPS } from '../../../lib/doctor/doctor.ts';
import { startFaultProxy, type FaultAction, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { NAME, startLyingDoor, TAG, type LyingDoor } from './registry-bench.ts';
import { registryContentTests } from './registry-content-suite.ts';
import { registryDoorTests } from './registry-endpoint-suite.ts';
import { doctor, doctorProcess } from './run-doctor.ts';

const SAMPLE = `${NAME}:${TAG}`;
const IDS = CHECK_GROUPS.flatMap(({ checks }) => checks.map(({ id }) => id));
/** What the embedded stack has nothing of. */
const AWS_ONLY = [
  'api-unsigned',
  'api-caller',
  's3-policy-create-only',
  's3-policy-parts',
  's3-policy-tls',
  's3-public-access',
  's3-encryption',
  's3-lifecycle',
  's3-notifications',
  'dynamo-pitr',
  'dynamo-deletion-protection',
  'sfn-standard',
  'events-bus',
  'lambda-runtime',
  'cloudwatch-emf',
];

let bench: LyingDoor;
before(async () => {
  bench = await startLyingDoor();
});
after(() => bench[Symbol.asyncDispose]());

describe('entrepot doctor, of the embedded stack', { timeout: 240_000 }, () => {
  let sample: SampleRegistry;
  let application: LocalApplication;
  before(() => {
    ({ sample, application } = bench);
  });

  test('what can be seen here holds, and what only AWS has is skipped', async () => {
    const args = ['--url', `${application.origin}/v1/`, '--image', SAMPLE, '--json'];
    const report = await doctor(args, application.environment);
    assert.deepEqual(report.of('fails'), [], report.stdout);
    assert.deepEqual(report.of('skipped'), AWS_ONLY);
    assert.deepEqual(
      report.findings.map(({ id }) => id),
      IDS,
    );
    assert.equal(report.exitCode, 0, report.stderr);
    for (const { seen, durationMs } of report.findings) assert.ok(seen !== '' && durationMs >= 0);
  });

  test('without an image no pull is tried, and the report is for people', async () => {
    const before = sample.requests.length;
    const report = await doctorProcess(['--url', application.origin], application.environment);
    assert.equal(report.exitCode, 0, report.stdout);
    assert.match(report.stdout, /^skipped pull-workflow {2,}give --image/m);
    assert.match(
      report.stdout,
      /^holds {3}s3-put-if-none-match {2,}the second PUT: 412 PreconditionFailed \(\d+ ms\)$/m,
    );
    // One more where the tests before started a single execution: then their order says nothing.
    assert.match(report.stderr, /^\d+ hold, 0 fail, 3[23] skipped/);
    assert.equal(sample.requests.length, before);
  });

  test('it leaves nothing behind', async () => {
    const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB, AWS_REGION, ENTREPOT_BUCKET, ENTREPOT_TABLE } =
      application.environment;
    const credentials = {
      accessKeyId: application.environment.AWS_ACCESS_KEY_ID!,
      secretAccessKey: application.environment.AWS_SECRET_ACCESS_KEY!,
    };
    const common = { region: AWS_REGION!, credentials };
    const s3 = new S3Client({ ...common, endpoint: AWS_ENDPOINT_URL_S3!, forcePathStyle: true });
    const dynamo = new DynamoDBClient({ ...common, endpoint: AWS_ENDPOINT_URL_DYNAMODB! });
    try {
      const objects = await s3.send(new ListObjectsV2Command({ Bucket: ENTREPOT_BUCKET, Prefix: 'doctor/' }));
      assert.equal(objects.KeyCount, 0);
      const uploads = await s3.send(new ListMultipartUploadsCommand({ Bucket: ENTREPOT_BUCKET }));
      assert.deepEqual(uploads.Uploads ?? [], []);
      const rows = await dynamo.send(
        new ScanCommand({
          TableName: ENTREPOT_TABLE,
          FilterExpression: 'begins_with(pk, :doctor)',
          ExpressionAttributeValues: { ':doctor': { S: 'DOCTOR#' } },
        }),
      );
      assert.equal(rows.Count, 0);
    } finally {
      s3.destroy();
      dynamo.destroy();
    }
  });

  test('a service that does something else is found out, check by check', async () => {
    const proxies = new Map<string, FaultProxy>();
    await using all = new AsyncDisposableStack();
    for (const service of ['S3', 'DYNAMODB', 'SFN', 'EVENTBRIDGE']) {
      const target = application.environment[`AWS_ENDPOINT_URL_${service}`]!;
      proxies.set(service, all.use(await startFaultProxy(target)));
    }
    const api = all.use(await startFaultProxy(application.origin));
    const lie = (service: string, method: string, path: RegExp, answer: object, more: object = {}): void => {
      const { status = 200, headers = {}, body = '' } = answer as { status?: number; headers?: object; body?: string };
      const action: FaultAction = { kind: 'answer', answer: { status, headers: { ...headers }, body } };
      const proxy = service === 'API' ? api : proxies.get(service)!;
      proxy.rules.push({ method, path, times: Infinity, action, ...more });
    };
    const accepted = { headers: { etag: '"5d41402abc4b2a76b9719d911017c592"' } };
    lie('S3', 'PUT', /\/if-none-match/, accepted, { skip: 1 });
    lie('S3', 'PUT', /\/race/, accepted);
    lie('S3', 'PUT', /\/sha256/, accepted);
    lie('S3', 'HEAD', /\/missing/, { status: 403 });
    lie('S3', 'DELETE', /\/delete-if-match/, { status: 204 }, { headers: { 'if-match': /^"0+"$/ } });
    lie('S3', 'GET', /\/aborted.*uploadId/, { body: '<ListPartsResult/>' });
    lie('S3', 'PUT', /\/part-crc32.*partNumber=2/, accepted);
    const completed = { body: '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>' };
    lie('S3', 'POST', /\/(?:size|full-object|complete-if-none-match)\?uploadId/, completed);
    const json = { headers: { 'content-type': 'application/x-amz-json-1.0' } };
    lie('DYNAMODB', 'POST', /^/, { ...json, body: '{}' }, { headers: { 'x-amz-target': /TransactWriteItems$/ } });
    const ttl = { ...json, body: '{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}' };
    lie('DYNAMODB', 'POST', /^/, ttl, { headers: { 'x-amz-target': /DescribeTimeToLive$/ } });
    const started = { ...json, body: '{"executionArn":"arn:aws:states:x","startDate":1}' };
    lie('SFN', 'POST', /^/, started, { headers: { 'x-amz-target': /StartExecution$/ } });
    const throttled = { ...json, status: 400, body: '{"__type":"AccessDeniedException","message":"no"}' };
    lie('SFN', 'POST', /^/, throttled, { headers: { 'x-amz-target': /DescribeExecution$/ } });
    const put = { ...json, body: '{"FailedEntryCount":0,"Entries":[{}]}' };
    lie('EVENTBRIDGE', 'POST', /^/, put);
    lie('API', 'GET', /no-such-route/, { body: '{}' });
    lie('API', 'GET', /%2Fimages/, { body: '{"images":[]}' });
    lie('API', 'POST', /\/v1\/pull/, { status: 502, body: 'Bad Gateway' });

    const endpoints = Object.fromEntries(
      [...proxies].map(([service, { endpoint }]) => [`AWS_ENDPOINT_URL_${service}`, endpoint]),
    );
    const report = await doctor(['--url', api.endpoint, '--image', SAMPLE, '--json'], {
      ...application.environment,
      ...endpoints,
    });
    assert.equal(report.exitCode, 1);
    assert.deepEqual(report.of('fails'), [
      'api-unknown-route',
      'api-encoded-path',
      'api-problems',
      'pull-workflow',
      'pull-hit',
      'pull-wait',
      'pull-failure',
      's3-put-if-none-match',
      's3-one-winner',
      's3-put-sha256',
      's3-head-missing',
      's3-delete-if-match',
      's3-upload-aborted',
      's3-part-crc32',
      's3-full-object-crc32',
      's3-complete-size',
      's3-complete-if-none-match',
      'dynamo-transaction-reasons',
      'dynamo-transaction-race',
      'dynamo-transaction-token',
      'dynamo-ttl',
      'sfn-closed-name',
      'sfn-unknown-execution',
      'events-put',
      'events-put-refused',
    ]);
    assert.match(report.seen('s3-put-if-none-match'), /accepted; expected 412/);
    assert.match(report.seen('s3-one-winner'), /8 of 8 succeeded/);
    assert.match(report.seen('s3-head-missing'), /403/);
    assert.deepEqual(report.of('skipped'), AWS_ONLY);
  });

  test('where the deployment tells nothing of itself the API alone is looked at', async () => {
    await using api = await startFaultProxy(application.origin);
    const answer = { status: 403, body: '{"message":"Forbidden"}' };
    api.rules.push({ path: /deployment/, times: Infinity, action: { kind: 'answer', answer } });
    const report = await doctor(['--url', api.endpoint, '--json'], application.environment);
    assert.equal(report.exitCode, 1);
    assert.deepEqual(report.of('fails'), ['api-signed']);
    assert.match(report.seen('s3-one-winner'), /GET \/v1\/deployment answered 403/);
    assert.ok(report.of('holds').every((id) => id.startsWith('api-')));
  });

  test('where nobody answers it says so once, and nothing else', async () => {
    const closed = await startFaultProxy(application.origin);
    await closed.close();
    const report = await doctor(['--url', closed.endpoint], application.environment);
    assert.deepEqual([report.exitCode, report.stdout], [2, '']);
    assert.match(report.stderr, /does not answer, and every check needs it: .*ECONNREFUSED/);
  });

  test('a wrong address, and endpoints that lead elsewhere, are refused before anything is asked', async () => {
    for (const url of [
      'nowhere',
      'http://cache.example.test',
      'https://a:b@cache.example.test',
      `${application.origin}?x`,
    ]) {
      const report = await doctor(['--url', url], application.environment);
      assert.deepEqual([report.exitCode, report.stdout], [2, ''], url);
    }
    for (const url of ['nowhere', 'http://cache.example.test', `${application.origin}/team`]) {
      const report = await doctor(['--url', application.origin, '--registry-url', url], application.environment);
      assert.deepEqual([report.exitCode, report.stdout], [2, ''], url);
      assert.match(report.stderr, /--registry-url/);
    }
    const away = await doctor(
      ['--url', 'https://abcdefghij.execute-api.us-east-1.amazonaws.com'],
      application.environment,
    );
    assert.deepEqual([away.exitCode, away.stdout], [2, '']);
    assert.match(away.stderr, /unset these variables/);
    const { AWS_ENDPOINT_URL_SFN: _, ...partly } = application.environment;
    const half = await doctor(['--url', application.origin], partly);
    assert.deepEqual([half.exitCode, half.stdout], [2, '']);
    assert.match(half.stderr, /entrepot local --all/);
  });
});

describe('the registry endpoint behind a door that lies', { timeout: 240_000 }, () => registryDoorTests(() => bench));
describe('manifests and blobs behind a door, and an S3, that change them', { timeout: 240_000 }, () =>
  registryContentTests(() => bench),
);
