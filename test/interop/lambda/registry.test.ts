import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import type { ALBResult, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { type LocalEndpoint, openEndpoint } from '../../../infra/local/app/endpoint.ts';
import { parseLocalCaller } from '../../../infra/local/app/gateway.ts';
import { TOKEN_USER } from '../../../lib/access/users.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import { apiEvent } from '../../support/api-event.ts';
import { rawS3, startBench, type Bench } from '../../support/cache.ts';
import { httpEvent } from '../../support/http-event.ts';
import { upstreamImage, type Image } from '../../support/images.ts';
import { objectDeleted } from '../../support/s3-event.ts';
import { until } from '../../support/until.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { AMD64, ARM64, childOf, lastLayerOf, twoPlatforms } from '../clients/support/images.ts';
import { basicOf, command } from '../clients/support/registry-client.ts';
import { manifestOf } from '../registry/closure.ts';
import { startPackaged, type PackagedApplication } from './packaged.ts';

const REGISTRY = 'registry.example.test';
const MOST_REDIRECTS = 10;

type Answer = APIGatewayProxyStructuredResultV2 & Pick<ALBResult, 'multiValueHeaders'>;
const bytesOf = ({ body = '', isBase64Encoded = false }: Answer): Buffer =>
  Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8');
const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

describe('the packaged registry endpoint under aws-lambda-ric', { timeout: 300_000 }, () => {
  let bench: Bench;
  let upstream: TestUpstream;
  let application: PackagedApplication;
  let authorization: string;
  const images = new Map<string, Image>();

  before(async () => {
    bench = await startBench();
    upstream = await bench.use(startUpstream());
    for (const name of ['app', 'tool', 'lost']) {
      const image = twoPlatforms(name, 'oci');
      images.set(name, image);
      upstream.addImage(`team/${name}`, upstreamImage(image, 'v1'));
    }
    application = await bench.use(
      startPackaged({
        stack: bench.stack,
        configuration: {
          registries: {
            [REGISTRY]: {
              endpoint: upstream.origin,
              credentials: 'none',
              allow: ['team/**'],
              platforms: ['linux/amd64'],
            },
          },
          serve: { freshness: [{ repositories: ['**'], tags: ['v1'], ttlSeconds: 1 }] },
          limits: { leaseSeconds: 10, attempts: 1, retryAfterMaxSeconds: 0 },
        },
      }),
    );
    const minted = (await application.functions.invoke('api', apiEvent('POST', '/v1/token'))) as { body: string };
    const { password } = JSON.parse(minted.body) as { password: string };
    authorization = `Basic ${basicOf({ user: TOKEN_USER, password })}`;
  });
  after(() => bench[Symbol.asyncDispose]());

  const base = (name: string): string => `/v2/${REGISTRY}/team/${name}`;
  const pidsOf = (name: string): readonly number[] =>
    application.functions
      .environments()
      .filter((one) => one.function === name)
      .map(({ pid }) => pid);
  async function ask(path: string, method = 'GET', headers: Record<string, string> = {}): Promise<Answer> {
    const [rawPath = '', rawQueryString = ''] = path.split('?');
    const { requestContext, ...event } = httpEvent('', { rawPath, rawQueryString, routeKey: '$default' }, method);
    return (await application.functions.invoke('registry', {
      ...event,
      headers: { authorization, ...headers },
      requestContext: { ...requestContext, http: { ...requestContext.http, path: rawPath } },
    })) as Answer;
  }
  /** A blob, by the redirects to us and the last to S3. */
  async function blob(name: string, digest: Digest): Promise<Buffer> {
    let path = `${base(name)}/blobs/${digest}`;
    for (let redirects = 0; redirects < MOST_REDIRECTS; redirects++) {
      const { statusCode, headers = {}, body } = await ask(path);
      assert.equal(statusCode, 307, body);
      const location = String(headers.location);
      if (location.startsWith('http')) return Buffer.from(await (await fetch(location)).arrayBuffer());
      path = location;
    }
    return assert.fail(`more than ${MOST_REDIRECTS} redirects`);
  }

  test('nobody is let in without a password, and is told how to sign in', async () => {
    const answer = await ask('/v2/', 'GET', { authorization: '' });
    assert.equal(answer.statusCode, 401);
    assert.match(String(answer.headers?.['www-authenticate']), /^Basic realm=/);
    assert.equal((await ask('/v2/')).statusCode, 200);
  });

  test('an event that is not a request is answered, and needs no password', async () => {
    for (const event of [
      null,
      'text',
      {},
      { Records: [] },
      { version: '1.0', httpMethod: 'GET', path: '/v2/', requestContext: {} },
    ]) {
      const { statusCode, body } = (await application.functions.invoke('registry', event)) as Answer;
      assert.equal(statusCode, 400, body);
    }
  });

  test('HTTP API, cold: a miss, whose registry another function asks, and whose layers the workflow brings', async () => {
    const image = images.get('app')!;
    const index = await ask(`${base('app')}/manifests/v1`);
    assert.equal(index.statusCode, 200, index.body);
    assert.deepEqual(bytesOf(index), Buffer.from(image.root.bytes));
    assert.equal(pidsOf('fetch').length > 0, true);
    const child = childOf(image, AMD64);
    assert.equal(digestOf(bytesOf(await ask(`${base('app')}/manifests/${child}`))), child);
    for (const { digest } of manifestOf(image, child).layers) assert.equal(digestOf(await blob('app', digest)), digest);
    // What was not configured comes when somebody asks for it.
    const other = childOf(image, ARM64);
    assert.equal(digestOf(bytesOf(await ask(`${base('app')}/manifests/${other}`))), other);
    const layer = lastLayerOf(image, ARM64);
    assert.equal(digestOf(await blob('app', layer)), layer);
    const gets = upstream.requests.filter(({ method, kind }) => method === 'GET' && kind === 'blob');
    assert.equal(new Set(gets.map(({ path }) => path)).size, gets.length, 'each blob once');
  });

  test('HTTP API, warm: by the same process, also after it was frozen; nobody asks the registry', async () => {
    const image = images.get('app')!;
    await sleep(1_500);
    assert.equal((await ask(`${base('app')}/manifests/v1`)).statusCode, 200);
    const [pid = 0] = pidsOf('registry');
    const [asked, landers] = [upstream.requests.length, pidsOf('fetch')];
    for (const frozenMs of [0, 300]) {
      process.kill(pid, 'SIGSTOP');
      await sleep(frozenMs);
      process.kill(pid, 'SIGCONT');
      const child = childOf(image, AMD64);
      assert.equal((await ask(`${base('app')}/manifests/${child}`)).statusCode, 200);
      assert.equal((await ask(`${base('app')}/blobs/${lastLayerOf(image, AMD64)}`)).statusCode, 307);
    }
    assert.deepEqual([upstream.requests.length, pidsOf('fetch'), pidsOf('registry')], [asked, landers, [pid]]);
  });

  test('HTTP API: a blob of which nobody asked for a manifest, and one that nobody has', async () => {
    const bytes = Buffer.from('a blob alone');
    const digest = upstream.putBlob('team/alone', bytes) as Digest;
    const head = await ask(`${base('alone')}/blobs/${digest}`, 'HEAD');
    assert.deepEqual([head.statusCode, head.headers?.['content-length']], [200, String(bytes.byteLength)]);
    assert.deepEqual(await blob('alone', digest), bytes);
    const none = await ask(`${base('alone')}/blobs/${digestOf(Buffer.from('nobody has it'))}`);
    assert.equal(none.statusCode, 404, none.body);
    // The function at the door may not ask a registry itself.
    assert.equal(upstream.count({ method: 'GET', reference: digest }), 1);
  });

  test('HTTP API: HEAD with the body that its door drops, 304, 404, 405', async () => {
    const image = images.get('app')!;
    const head = await ask(`${base('app')}/manifests/${image.root.digest}`, 'HEAD');
    assert.equal(bytesOf(head).byteLength, image.root.size);
    const etag = String(head.headers?.etag);
    const same = await ask(`${base('app')}/manifests/${image.root.digest}`, 'GET', { 'if-none-match': etag });
    assert.deepEqual([same.statusCode, same.body], [304, undefined]);
    for (const [path, method, status, code] of [
      [`${base('other/app')}/manifests/v1`, 'GET', 404, 'NAME_UNKNOWN'],
      [`${base('app')}/manifests/nothing`, 'GET', 404, 'MANIFEST_UNKNOWN'],
      [`${base('app')}/../../etc/manifests/v1`, 'GET', 400, 'NAME_INVALID'],
      [`${base('app')}/blobs/uploads/`, 'POST', 405, 'UNSUPPORTED'],
    ] as const) {
      const answer = await ask(path.replace('team/other/', 'other/'), method);
      const { errors } = JSON.parse(bytesOf(answer).toString()) as { errors: { code: string }[] };
      assert.deepEqual([answer.statusCode, errors[0]?.code], [status, code], path);
    }
  });

  test('a load balancer, cold and warm', async () => {
    const image = images.get('tool')!;
    for (const accept of [['application/vnd.oci.image.index.v1+json'], ['text/plain', '*/*']]) {
      const answer = (await application.functions.invoke('registry', {
        requestContext: { elb: { targetGroupArn: 'arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/x/1' } },
        httpMethod: 'GET',
        path: '/v2/team/tool/manifests/v1',
        multiValueQueryStringParameters: { ns: [REGISTRY] },
        multiValueHeaders: { accept, authorization: [authorization], host: ['cache.example.test'] },
        body: '',
        isBase64Encoded: false,
      })) as Answer;
      assert.equal(answer.statusCode, 200, answer.body);
      assert.deepEqual(bytesOf(answer), Buffer.from(image.root.bytes));
      assert.deepEqual(answer.multiValueHeaders?.['docker-content-digest'], [image.root.digest]);
    }
  });

  test('a registry that is down: what has landed is served, and says that it may be stale', async () => {
    upstream.fault(when({ kind: 'manifest' }, { status: 503 }));
    await sleep(1_500);
    const answer = await ask(`${base('app')}/manifests/v1`);
    upstream.clearFaults();
    assert.equal(answer.statusCode, 200, answer.body);
    assert.match(String(answer.headers?.warning), /^111 /);
    assert.match(await application.logOf('fetch'), /"level":"WARN".*a registry could not be asked/);
  });

  test('content that somebody deleted: the event is heard, and the next client gets it again', async () => {
    const image = images.get('lost')!;
    await ask(`${base('lost')}/manifests/v1`);
    await ask(`${base('lost')}/manifests/${childOf(image, AMD64)}`);
    const layer = lastLayerOf(image, AMD64);
    await blob('lost', layer);
    const s3 = rawS3(bench.stack);
    const key = layer.replace('sha256:', 'blobs/sha256/');
    await s3.send(new DeleteObjectCommand({ Bucket: bench.stack.bucket, Key: key }));
    s3.destroy();
    application.events.put('default', objectDeleted(bench.stack.bucket, key));
    await until(() => pidsOf('events').length > 0, 30_000);
    await until(
      async () => (await application.logOf('events')).includes('content was deleted from the bucket'),
      30_000,
    );
    assert.equal(digestOf(await blob('lost', layer)), layer);
  });

  test('skopeo copies an image through the door', async () => {
    const image = images.get('app')!;
    await using resources = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'entrepot-skopeo-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const { functions, routes } = application;
    const caller = parseLocalCaller('arn:aws:iam::000000000000:user/nobody');
    const door: LocalEndpoint = resources.use(
      await openEndpoint({ port: 0, routes, functions, caller, control: () => undefined }),
    );
    const [, encoded = ''] = authorization.split(' ');
    const credentials = Buffer.from(encoded, 'base64').toString();
    const source = `docker://${new URL(door.origin).host}/${REGISTRY}/team/app:v1`;
    const options = ['--insecure-policy', '--override-os', 'linux', '--override-arch', 'amd64', 'copy', '--quiet'];
    await command('skopeo', [
      ...options,
      '--src-tls-verify=false',
      '--src-creds',
      credentials,
      source,
      `dir:${join(folder, 'copy')}`,
    ]);
    assert.equal(digestOf(await readFile(join(folder, 'copy', 'manifest.json'))), childOf(image, AMD64));
  });
});
