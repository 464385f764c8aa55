import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Problem } from '../../../lib/http/problem.ts';
import type { PullDocument } from '../../../lib/http/control/pulls.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { openCache, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { gate } from '../../support/state-machine.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { api, ROLE, signedBy, startWorker, withToken, type Ask, type Worker } from './api-bench.ts';

const REGISTRY = 'registry.example.test';

let bench: Bench;
let upstream: TestUpstream;
let proxy: FaultProxy;
let cache: TestCache;
let worker: Worker;
let ask: Ask;

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  proxy = await bench.use(startFaultProxy(bench.stack.dynamoEndpoint));
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } };
  cache = await bench.use(
    openCache(bench.stack, { registries, limits: { attempts: 1 }, dynamoEndpoint: proxy.endpoint }),
  );
  worker = await bench.use(startWorker(cache.services, cache.services.records));
  ask = api({ ...cache.services, jobs: worker.jobs });
});
after(() => bench[Symbol.asyncDispose]());

beforeEach(async () => {
  upstream.clearFaults();
  proxy.rules.length = 0;
  await worker.idle();
  worker.go = Promise.resolve();
});

let images = 0;
/** The reference of an image that nothing has pulled yet. */
function newImage(): string {
  const name = `team/app-${images++}`;
  upstream.addImage(name, upstreamImage(noiseImage({ name, layerBytes: [1_000] }), 'v1'));
  return `${REGISTRY}/${name}:v1`;
}

const post = (reference: string, prefer?: string, more: object = {}) =>
  ask({
    path: '/v1/pull',
    body: { reference, ...more },
    ...(prefer === undefined ? {} : { headers: { Prefer: prefer } }),
  });

describe('POST /v1/pull', () => {
  test('a miss is pulled, and answered with its receipt when it is done', async () => {
    const reference = newImage();
    const { status, body, headers, lines, metrics } = await post(reference);
    assert.equal(status, 200);
    assert.equal((body as Receipt).outcome, 'pulled');
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['preference-applied'], undefined);
    // The workflow counts it, once for all who wait for it.
    assert.deepEqual([...metrics], []);
    const { durationMs, ...fields } = lines[0]!.fields;
    assert.ok(typeof durationMs === 'number');
    assert.deepEqual(fields, {
      pullId: worker.started.at(-1),
      caller: 'arn:aws:iam::123456789012:role/ci',
      route: 'POST /v1/pull',
      status: 200,
    });
  });

  test('a hit is answered from two reads of the table, and starts nothing', async () => {
    const reference = newImage();
    await post(reference);
    await worker.idle(); // It answers before the last task of its workflow has ended.
    const before = worker.started.length;
    proxy.log.length = 0;
    upstream.requests.length = 0;
    const { status, body, metrics, headers } = await post(reference, 'wait=0');
    assert.equal(status, 200);
    const receipt = body as Receipt;
    assert.equal(receipt.outcome, 'hit');
    assert.deepEqual(
      [...metrics],
      [
        ['Hits', 1],
        ['BytesSaved', receipt.bytes.total],
      ],
    );
    assert.ok(receipt.bytes.total > 0);
    assert.equal(headers['preference-applied'], 'wait=0');
    assert.equal(worker.started.length, before);
    assert.equal(upstream.requests.length, 0);
    assert.deepEqual(
      proxy.log.map((request) => request.headers['x-amz-target']),
      ['DynamoDB_20120810.GetItem', 'DynamoDB_20120810.BatchGetItem'],
    );
  });

  test('alwaysPull asks the registry although the cache knows', async () => {
    const reference = newImage();
    await post(reference);
    upstream.requests.length = 0;
    const { status, body } = await post(reference, undefined, { alwaysPull: true });
    assert.equal(status, 200);
    assert.equal((body as Receipt).outcome, 'hit');
    assert.ok(upstream.requests.length > 0);
  });

  test('what takes longer is accepted: 202, where to ask, and when', async () => {
    const hold = gate();
    worker.go = hold.opened;
    const reference = newImage();
    const { status, body, headers, metrics } = await post(reference, 'wait=0');
    assert.equal(status, 202);
    const pull = body as PullDocument;
    assert.equal(pull.state, 'queued');
    assert.equal(pull.reference, reference);
    assert.equal(headers.location, `/v1/pulls/${pull.id}`);
    assert.match(String(headers['retry-after']), /^[1-9]\d?$/);
    assert.equal(headers['preference-applied'], 'wait=0');
    // The workflow counts it, once for all who wait for it.
    assert.deepEqual([...metrics], []);

    const asked = await ask({ path: `/v1/pulls/${pull.id}` });
    assert.equal(asked.status, 200);
    assert.deepEqual(
      [(asked.body as PullDocument).receipt, (asked.body as PullDocument).error, (asked.body as PullDocument).progress],
      [null, null, null],
    );
    hold.open();
    const done = await post(reference, 'wait=15');
    assert.equal(done.status, 200);
    const ended = (await ask({ path: `/v1/pulls/${pull.id}` })).body as PullDocument;
    assert.equal(ended.state, 'succeeded');
    assert.equal(ended.receipt?.outcome, 'pulled');
    assert.notEqual(ended.endedAt, null);
  });

  test('waits as long as it was asked to, and not longer', async () => {
    const hold = gate();
    worker.go = hold.opened;
    const startedMs = performance.now();
    const { status, headers } = await post(newImage(), 'wait=1');
    const tookMs = performance.now() - startedMs;
    assert.equal(status, 202);
    assert.ok(tookMs >= 950 && tookMs < 2_500, `${tookMs} ms`);
    assert.equal(headers['preference-applied'], 'wait=1');
    hold.open();
  });

  test('never waits past the end of the invocation', async () => {
    const hold = gate();
    worker.go = hold.opened;
    const { status, headers } = await ask({
      path: '/v1/pull',
      body: { reference: newImage() },
      headers: { prefer: 'wait=3600' },
      withinMs: 700,
    });
    assert.equal(status, 202);
    assert.equal(headers['preference-applied'], 'wait=20');
    hold.open();
  });

  test('a slow table is not waited for: 503 before anything is known, 202 after', async () => {
    const hold = gate();
    worker.go = hold.opened;
    proxy.rules.push({ times: 1, action: { kind: 'delay', delayMs: 1_500 } });
    const reference = newImage();
    const lost = await ask({ path: '/v1/pull', body: { reference }, withinMs: 500 });
    assert.equal(lost.status, 503);
    assert.equal(lost.headers['retry-after'], '5');
    assert.equal((lost.body as Problem).retryable, true);
    proxy.rules.length = 0;

    const { id } = (await post(reference, 'wait=0')).body as PullDocument;
    // Joining reads and writes three times at most; the look at its state is what stands still.
    proxy.rules.push({ skip: 4, times: Infinity, action: { kind: 'delay', delayMs: 5_000 } });
    const startedMs = performance.now();
    const { status, body } = await post(reference, 'wait=1');
    assert.equal(status, 202);
    assert.equal((body as PullDocument).id, id);
    assert.ok(performance.now() - startedMs < 3_000);
    hold.open();
  });

  test('many who ask for the same at once get one pull', async () => {
    const reference = newImage();
    const before = worker.started.length;
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(reference)));
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(8).fill(200),
    );
    assert.equal(worker.started.length, before + 1);
  });

  test('a failed pull is its problem, with its status; the next request tries anew', async () => {
    const reference = newImage();
    upstream.fault(when({ kind: 'manifest' }, { status: 403 }));
    const { status, body, headers, lines } = await post(reference);
    assert.equal(status, 403);
    assert.equal(headers['content-type'], 'application/problem+json');
    const problem = body as Problem;
    const id = worker.started.at(-1);
    assert.deepEqual(
      [problem.status, problem.code, problem.instance, problem.requestId],
      [403, 'DENIED', `/v1/pulls/${id}`, 'request-1'],
    );
    assert.equal(lines[0]?.fields.pullId, id);
    const failed = (await ask({ path: `/v1/pulls/${id}` })).body as PullDocument;
    assert.equal(failed.state, 'failed');
    assert.equal(failed.error?.status, 403);

    upstream.clearFaults();
    assert.equal((await post(reference)).status, 200);
    assert.notEqual(worker.started.at(-1), id);
  });

  test('what is not there, or not configured, is 404; what is broken, 502', async () => {
    assert.deepEqual(
      [(await post(`${REGISTRY}/team/absent:v1`)).status, (await post('registry.elsewhere.test/a:v1')).status],
      [404, 404],
    );
    const reference = newImage();
    upstream.fault(when({ kind: 'manifest' }, { status: 500 }));
    assert.equal((await post(reference)).status, 502);
  });

  test('bad input names its field, and no header holds anything of it', async () => {
    const started = worker.started.length;
    const bad: [unknown, string][] = [
      ['{', 'body'],
      ['', 'body'],
      [[], 'body'],
      [{}, 'reference'],
      [{ reference: 'UPPER' }, 'reference'],
      [{ reference: 'alpine\r\nx-injected: 1' }, 'reference'],
      [{ reference: 'alpine', platforms: ['linux'] }, 'platforms[0]'],
      [{ reference: 'alpine', extra: 1 }, 'extra'],
      [{ images: [{ reference: 'alpine' }] }, 'reference'],
      [{ detail: { reference: 'alpine' } }, 'reference'],
      [' '.repeat(300_000), 'body'],
    ];
    for (const [body, field] of bad) {
      const answer = await ask({ method: 'POST', path: '/v1/pull', body });
      assert.equal(answer.status, 400, answer.text);
      assert.equal((answer.body as Problem).field, field);
      assert.doesNotMatch(JSON.stringify(answer.headers), /injected/);
    }
    assert.equal(worker.started.length, started);
  });
});

describe('who may pull', () => {
  const rules = [{ callers: ['arn:aws:iam::123456789012:role/ci'], repositories: [`${REGISTRY}/team/**`] }];
  const stranger = signedBy('arn:aws:sts::123456789012:assumed-role/other/x');

  test('a caller without a rule is refused the same way whatever there is', async () => {
    const limited = api({ ...cache.services, jobs: worker.jobs }, { rules });
    const reference = newImage();
    assert.equal((await limited({ path: '/v1/pull', body: { reference } })).status, 200);
    const started = worker.started.length;
    const refused = async (text: string) => {
      const { status, body } = await limited({ path: '/v1/pull', body: { reference: text }, authorizer: stranger });
      const { detail, ...problem } = body as Problem;
      return { status, problem, detail: detail?.replace(/registry\.[^;]*/, 'X') };
    };
    const cached = await refused(reference);
    assert.equal(cached.status, 403);
    assert.equal(cached.problem.code, 'DENIED');
    assert.deepEqual(await refused(`${REGISTRY}/team/absent:v1`), cached);
    assert.deepEqual(await refused('registry.elsewhere.test/a/b:v1'), cached, 'nor what is configured');
    assert.equal(worker.started.length, started);
  });

  test('a pull of somebody else is as unknown as one that never was', async () => {
    const limited = api({ ...cache.services, jobs: worker.jobs }, { rules });
    await limited({ path: '/v1/pull', body: { reference: newImage() } });
    const path = `/v1/pulls/${worker.started.at(-1)}`;
    assert.equal((await limited({ path })).status, 200);
    const theirs = await limited({ path, authorizer: stranger });
    const never = await limited({ path: '/v1/pulls/00000000-0000-4000-8000-000000000000', authorizer: stranger });
    assert.equal(theirs.status, 404);
    assert.deepEqual(theirs.body, never.body);
  });

  test('ids that are none are not looked up', async () => {
    proxy.log.length = 0;
    for (const id of ['x', '..', '%2e%2e', 'PULL#x', '0'.repeat(5_000), "'; drop", 'a b', 'ＡＡ']) {
      assert.equal((await ask({ path: `/v1/pulls/${id}` })).status, 404, id);
    }
    assert.equal(proxy.log.length, 0);
  });

  test('nobody is nobody on every route', async () => {
    proxy.log.length = 0;
    const everywhere: [string, string][] = [
      ['POST', '/v1/pull'],
      ['GET', '/v1/pulls/00000000-0000-4000-8000-000000000000'],
      ['GET', '/v1/images'],
      ['DELETE', '/v1/images'],
      ['POST', '/v1/validate'],
      ['GET', '/v1/nowhere'],
    ];
    for (const [method, path] of everywhere) {
      for (const authorizer of [null, {}, { iam: {} }, { lambda: { userArn: ROLE } }, withToken({ sub: 'jane' })]) {
        const { status, headers, body } = await ask({ method, path, authorizer, body: { reference: 'alpine' } });
        assert.equal(status, 401);
        assert.equal((body as Problem).code, 'UNAUTHORIZED');
        assert.ok(headers['www-authenticate']);
      }
    }
    assert.equal(proxy.log.length, 0);
  });

  test('a token needs the claim, and rules match its values', async () => {
    const limited = api(
      { ...cache.services, jobs: worker.jobs },
      {
        jwt: { issuer: 'https://i.example.test', audience: ['a'], claim: { name: 'groups', anyOf: ['dev-*'] } },
        rules: [{ callers: ['dev-a'], repositories: [`${REGISTRY}/team/**`] }],
      },
    );
    const reference = newImage();
    const by = async (groups: string) =>
      (await limited({ path: '/v1/pull', body: { reference }, authorizer: withToken({ sub: 'jane', groups }) })).status;
    assert.equal(await by('[x dev-a]'), 200);
    assert.equal(await by('dev-a'), 200);
    assert.equal(await by('[dev-b]'), 403);
    assert.equal(await by('[ops]'), 403);
    assert.equal((await limited({ path: '/v1/images', authorizer: withToken({ sub: 'jane' }) })).status, 403);
    assert.equal((await limited({ path: '/v1/images', authorizer: signedBy(ROLE) })).status, 401);
  });
});

test('a path or method that is not there says so', async () => {
  assert.equal((await ask({ path: '/v1/pull/../images' })).status, 404);
  const { status, headers, lines } = await ask({ method: 'PUT', path: '/v1/images' });
  assert.equal(status, 405);
  assert.equal(headers.allow, 'GET, DELETE');
  assert.equal(lines[0]?.level, 'info');
});
