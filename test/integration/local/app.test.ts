import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { DeleteObjectCommand, S3Client } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startSampleRegistry, type SampleRegistry } from '../../../infra/local/sample/sample-registry.ts';
import { localSigningKey } from '../../../lib/access/secrets-signing-key.ts';
import { verifyMinted } from '../../../lib/access/minted.ts';
import type { TokenDocument } from '../../../lib/http/control/deployment.ts';
import type { Problem } from '../../../lib/http/problem.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import type { Validation } from '../../../lib/repair/validate.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../../support/images.ts';
import { entrepotProcess } from '../../support/entrepot.ts';
import {
  startRunningApplication,
  type CurlAnswer,
  type RunningApplication,
} from '../../support/running-application.ts';
import { isAlive, until } from '../../support/until.ts';
import { startUpstream, times, when, type TestUpstream } from '../../support/upstream/upstream.ts';

const SAMPLE = 'sample.example.test/team/app:v1';
const SLOW = 'slow.example.test/team/slow:v1';
/** Each look is a curl, and most are an event for a function. */
const LOOK_EVERY_MS = 200;

interface PullDocument {
  readonly id: string;
  readonly state: string;
  readonly receipt?: Receipt;
}

describe('the whole application, driven with curl', { timeout: 240_000 }, () => {
  let sample: SampleRegistry;
  let slow: TestUpstream;
  let login: TestUpstream;
  let application: RunningApplication;
  /** A layer of the slow image. */
  let layer: string;

  before(async () => {
    [sample, slow, login] = await Promise.all([
      startSampleRegistry(),
      startUpstream(),
      startUpstream({ auth: { kind: 'basic', users: { bob: 'word' } } }),
    ]);
    login.addImage('team/app', upstreamImage(noiseImage({ name: 'login' }), 'v1'));
    sample.publish('team/app', 'v1', multiArchImage({ name: 'app', attestations: true }));
    for (const name of ['slow', 'event']) {
      const image = noiseImage({ name, layerBytes: [20_000, 30_000] });
      if (name === 'slow') [layer = ''] = [...image.blobs].find(([, bytes]) => bytes.byteLength >= 20_000) ?? [];
      slow.addImage(`team/${name}`, upstreamImage(image, 'v1'));
    }
    const configuration = {
      registries: {
        'sample.example.test': { endpoint: sample.origin, credentials: 'none' },
        'slow.example.test': { endpoint: slow.origin, credentials: 'none' },
        'login.example.test': { endpoint: login.origin },
      },
      warmups: {
        nightly: {
          schedule: 'cron(0 3 ? * MON-FRI *)',
          timeZone: 'Europe/Berlin',
          images: [{ reference: SAMPLE, platforms: ['linux/arm64'] }],
        },
      },
      limits: { leaseSeconds: 2 },
    };
    const auths = { 'login.example.test': { username: 'bob', password: 'word' } };
    application = await startRunningApplication(configuration, { auths });
  });
  after(async () => {
    await application[Symbol.asyncDispose]();
    await Promise.all([sample.close(), slow.close(), login.close()]);
  });

  const post = (path: string, body: object, ...options: readonly string[]): Promise<CurlAnswer> =>
    application.curl(path, '-H', 'content-type: application/json', '-d', JSON.stringify(body), ...options);
  const untilEnded = async (location: string, withinMs = 60_000): Promise<PullDocument> => {
    let pull: PullDocument | undefined;
    await until(
      async () => {
        pull = (await application.curl(location)).document as PullDocument;
        return pull.state === 'succeeded' || pull.state === 'failed';
      },
      withinMs,
      LOOK_EVERY_MS,
    );
    return pull!;
  };
  const eventsOf = async (type: string): Promise<readonly { detail: Record<string, unknown> }[]> => {
    const { events } = (await application.curl('/_local/events')).document as {
      events: { event: { 'detail-type': string; detail: Record<string, unknown> } }[];
    };
    return events.map(({ event }) => event).filter((event) => event['detail-type'] === type);
  };

  test('a miss runs through the workflow, and answers with the receipt', async () => {
    const answer = await post('/v1/pull', { reference: SAMPLE, platforms: ['linux/amd64'] });
    assert.equal(answer.status, 200, answer.body);
    const receipt = answer.document as Receipt;
    assert.equal(receipt.outcome, 'pulled');
    assert.ok(receipt.blobs.copied > 0);
    const ran = new Set((await application.environments()).map((one) => one.function));
    for (const name of ['api', 'plan', 'copy', 'publish']) assert.ok(ran.has(name), name);
    const [cached] = await eventsOf('Image Cached');
    assert.equal((cached?.detail.receipt as Receipt).reference, SAMPLE);
    assert.equal((await eventsOf('Step Functions Execution Status Change')).length, 1);
  });

  test('again it is a hit: nobody asks the registry, and no environment is started', async () => {
    const [asked, before] = [sample.requests.length, await application.environments()];
    const answer = await post('/v1/pull', { reference: SAMPLE, platforms: ['linux/amd64'] });
    assert.deepEqual([answer.status, (answer.document as Receipt).outcome], [200, 'hit']);
    assert.equal(sample.requests.length, asked);
    assert.deepEqual(await application.environments(), before);
  });

  test('a password is minted for the caller, with the key of this machine', async () => {
    const answer = await application.curl('/v1/token', '-X', 'POST');
    assert.equal(answer.status, 200, answer.body);
    const signal = AbortSignal.timeout(5_000);
    const signingKey = localSigningKey(application.environment.ENTREPOT_SIGNING_KEY_FILE ?? '');
    const key = createPublicKey(await signingKey.privateKey(signal));
    const { password } = answer.document as TokenDocument;
    const caller = await verifyMinted({ find: () => Promise.resolve(key) }, password, { signal });
    assert.deepEqual(caller, { kind: 'iam', arn: 'arn:aws:iam::000000000000:user/local' });
  });

  test("Docker's credentials are used, without a word of them in the configuration", async () => {
    const reference = 'login.example.test/team/app:v1';
    const answer = await post('/v1/pull', { reference });
    assert.deepEqual([answer.status, (answer.document as Receipt).outcome], [200, 'pulled'], answer.body);
    const path = `/v1/images?reference=${encodeURIComponent(reference)}`;
    assert.equal((await application.curl(path, '-X', 'DELETE')).status, 204);
  });

  test('who does not wait polls; a killed environment costs time alone', async () => {
    const stuck = { kind: 'blob', method: 'GET', reference: layer } as const;
    slow.fault(times(1, when(stuck, { stallAfterBytes: 10 })));
    const answer = await post('/v1/pull', { reference: SLOW }, '-H', 'Prefer: wait=0');
    assert.equal(answer.status, 202, answer.body);
    assert.match(answer.headers.location ?? '', /^\/v1\/pulls\/[0-9a-f-]{36}$/);
    const location = answer.headers.location!;
    // One blob hangs, and so does the function that copies it: until it dies.
    await until(() => slow.count(stuck) > 0);
    const copying = (await application.environments()).filter((one) => one.function === 'copy' && one.state === 'busy');
    assert.ok(copying.length > 0);
    for (const { pid } of copying) process.kill(pid, 'SIGKILL');
    const pull = await untilEnded(location);
    assert.equal(pull.state, 'succeeded', JSON.stringify(pull));
    assert.equal(slow.count(stuck), 2, 'once by the one that was killed, once by its successor');
    assert.equal((await post('/v1/pull', { reference: SLOW })).status, 200);
  });

  test('images and validation', async () => {
    const { images } = (await application.curl('/v1/images')).document as { images: { reference: string }[] };
    assert.deepEqual(images.map(({ reference }) => reference).sort(), [SAMPLE, SLOW]);
    const one = await application.curl(`/v1/images?reference=${encodeURIComponent(SAMPLE)}`);
    assert.equal(one.status, 200, one.body);
    const validated = await post('/v1/validate', { reference: SAMPLE, platforms: ['linux/amd64'], deep: true });
    assert.deepEqual([validated.status, (validated.document as Validation).state], [200, 'complete']);
  });

  test('what is wrong is told as problem details, and so are paths and methods that are none', async () => {
    for (const [body, field] of [
      [{ reference: 'Upper/Case:v1' }, 'reference'],
      [{ reference: SAMPLE, platforms: ['linux'] }, 'platforms'],
      [{ reference: SAMPLE, unknown: 1 }, undefined],
    ] as const) {
      const answer = await post('/v1/pull', body);
      assert.equal(answer.status, 400, answer.body);
      assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
      if (field !== undefined) assert.match((answer.document as Problem).field ?? '', new RegExp(field));
    }
    assert.equal((await application.curl('/v1/pulls/00000000-0000-4000-8000-000000000000')).status, 404);
    for (const path of ['/v1/nothing', '/v1/imges', '/v1', '/v1/', '/healthz', '/', '/v2x']) {
      const { status, headers, document } = await application.curl(path);
      assert.deepEqual([status, headers['content-type']], [404, 'application/problem+json'], path);
      assert.deepEqual([headers['www-authenticate'], (document as Problem).status], [undefined, 404], path);
    }
    const wrong = await application.curl('/v1/images', '-X', 'PUT');
    assert.deepEqual([wrong.status, wrong.headers.allow], [405, 'GET, DELETE']);
    const head = await application.curl('/v1/images', '--head');
    assert.deepEqual([head.status, head.body], [405, '']);
    assert.equal((await application.curl('/v1/images', '-H', 'host: evil.example.test')).status, 403);
    assert.equal((await application.curl('/v1/images', '-H', 'origin: https://evil.example.test')).status, 403);
  });

  test('a schedule fires, by hand here, and warms up what changed', async () => {
    const { schedules } = (await application.curl('/_local/schedules')).document as { schedules: { name: string }[] };
    assert.deepEqual(schedules.map(({ name }) => name).sort(), ['OverseeRule', 'nightly']);
    assert.equal((await application.curl('/_local/schedules/hourly', '-X', 'POST')).status, 404);
    const fired = await application.curl('/_local/schedules/nightly', '-X', 'POST');
    assert.equal(fired.status, 202);
    await until(async () => (await eventsOf('Warmup Finished')).length > 0, 60_000, LOOK_EVERY_MS);
    const [finished] = await eventsOf('Warmup Finished');
    assert.deepEqual(
      [finished?.detail.warmup, finished?.detail.checked, (finished?.detail.failures as unknown[]).length],
      ['nightly', 1, 0],
    );
    const arm = await post('/v1/pull', { reference: SAMPLE, platforms: ['linux/arm64'] });
    assert.equal((arm.document as Receipt).outcome, 'hit');
    assert.equal((await application.curl('/_local/schedules/OverseeRule', '-X', 'POST')).status, 202);
    await until(async () => (await application.environments()).some((one) => one.function === 'oversee'));
  });

  test('requests, executions and warm-ups are listed, and shown as they happen', async () => {
    const listed = async (kind: string): Promise<readonly Record<string, unknown>[]> =>
      ((await application.curl(`/_local/${kind}`)).document as Record<string, Record<string, unknown>[]>)[kind] ?? [];
    await application.curl('/v1/images?limit=7', '-A', 'an agent');
    const request = (await listed('requests')).at(-1);
    assert.deepEqual(
      [request?.method, request?.path, request?.function, request?.status, request?.state, request?.userAgent],
      ['GET', '/v1/images', 'api', 200, 'ended', 'an agent'],
    );
    const [run] = await listed('runs');
    assert.deepEqual([run?.state, run?.status], ['ended', 'SUCCEEDED']);
    const [warmup] = await listed('warmups');
    assert.deepEqual([warmup?.warmup, warmup?.state, warmup?.checked, warmup?.failures], ['nightly', 'ended', 1, 0]);
    const shown = application.shown();
    for (const line of [
      / workflow run began name=/,
      / workflow run ended name=.* status=SUCCEEDED /,
      / warm-up ended warmup=nightly /,
    ]) {
      assert.match(shown, line);
    }
    assert.match(shown, / request method=GET path=\/v1\/images function=api status=200 .*userAgent="an agent"/);
    assert.doesNotMatch(shown, /limit=7/);
  });

  test('content that is deleted from the bucket is noticed by its event', async () => {
    const {
      AWS_ENDPOINT_URL_S3: endpoint = '',
      AWS_REGION: region = '',
      ENTREPOT_BUCKET: Bucket,
    } = application.environment;
    const { AWS_ACCESS_KEY_ID: accessKeyId = '', AWS_SECRET_ACCESS_KEY: secretAccessKey = '' } =
      application.environment;
    const s3 = new S3Client({ endpoint, region, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: true });
    const asked = { reference: SLOW };
    const stateOf = async (): Promise<string> => ((await post('/v1/validate', asked)).document as Validation).state;
    assert.equal(await stateOf(), 'complete');
    await s3.send(new DeleteObjectCommand({ Bucket, Key: `blobs/${layer.replace(':', '/')}` }));
    // Not there: nothing was deleted.
    await s3.send(new DeleteObjectCommand({ Bucket, Key: 'blobs/sha256/none' }));
    s3.destroy();
    await until(async () => (await stateOf()) === 'incomplete', 60_000, LOOK_EVERY_MS);
    const deleted = await eventsOf('Object Deleted');
    assert.deepEqual(
      deleted.map(({ detail }) => (detail.object as { key: string }).key),
      [`blobs/${layer.replace(':', '/')}`],
    );
    assert.equal(((await post('/v1/pull', asked)).document as Receipt).blobs.copied, 1);
  });

  test('another process gets its variables, for a shell', async () => {
    const environment = { ENTREPOT_HOME: join(application.folder, 'home') };
    const { code, stdout, stderr } = await entrepotProcess(['local', '--all', '--env'], environment);
    assert.deepEqual([code, stderr], [0, '']);
    const lines = Object.entries(application.environment).map(([name, value]) => `export ${name}=${value}\n`);
    assert.equal(stdout, lines.join(''));
    const none = await entrepotProcess(['local', '--all', '--env'], {
      ENTREPOT_HOME: join(application.folder, 'none'),
    });
    assert.deepEqual([none.code, none.stdout], [2, '']);
  });

  test('an event on the bus starts a pull', async () => {
    const { AWS_ENDPOINT_URL_EVENTBRIDGE: endpoint = '', ENTREPOT_BUS: bus = '' } = application.environment;
    const client = new EventBridgeClient({
      endpoint,
      region: 'us-east-1',
      credentials: { accessKeyId: 'any', secretAccessKey: 'any' },
    });
    const reference = 'slow.example.test/team/event:v1';
    const entry = { Source: 'team.builder', DetailType: 'Pull Image', Detail: JSON.stringify({ reference }) };
    const answer = await client.send(
      new PutEventsCommand({
        Entries: [
          { ...entry, EventBusName: bus },
          { ...entry, EventBusName: 'no-such-bus' },
          { ...entry, EventBusName: bus, Detail: 'not json' },
        ],
      }),
    );
    client.destroy();
    assert.equal(answer.FailedEntryCount, 2);
    assert.deepEqual(
      answer.Entries?.map(({ ErrorCode }) => ErrorCode),
      [undefined, 'ResourceNotFoundException', 'MalformedDetail'],
    );
    await until(
      async () => {
        const cached = await eventsOf('Image Cached');
        return cached.some(({ detail }) => (detail.receipt as Receipt).reference === reference);
      },
      60_000,
      LOOK_EVERY_MS,
    );
  });

  test('DELETE takes the tag away, and the next pull copies nothing', async () => {
    const path = `/v1/images?reference=${encodeURIComponent(SAMPLE)}`;
    assert.equal((await application.curl(path, '-X', 'DELETE')).status, 204);
    assert.equal((await application.curl(path)).status, 404);
    const answer = await post('/v1/pull', { reference: SAMPLE, platforms: ['linux/amd64'] });
    assert.deepEqual([answer.status, (answer.document as Receipt).blobs.copied], [200, 0], answer.body);
  });

  test('Ctrl-C ends it cleanly, and everything that it started', async () => {
    const pids = (await application.environments()).map(({ pid }) => pid);
    assert.ok(pids.length > 4);
    assert.equal(await application.interrupt(), 0);
    for (const pid of pids) assert.equal(isAlive(pid), false);
    const logs = join(application.folder, 'home', 'logs');
    const deadLetters = (await readdir(logs)).includes('dead-letters.log');
    assert.equal(deadLetters ? await readFile(join(logs, 'dead-letters.log'), 'utf8') : '', '');
  });
});
