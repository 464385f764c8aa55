import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type * as ApiFunction from '../../../functions/api.ts';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';
import type { Problem } from '../../../lib/http/problem.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { openCache, startBench, type Bench } from '../../support/cache.ts';
import { lambdaContext } from '../../support/http-event.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { eventOf, type Asked } from './api-bench.ts';

let bench: Bench;
let upstream: TestUpstream;
let handler: (typeof ApiFunction)['handler'];
let reference: string;

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  reference = `${upstream.host}/team/app:v1`;
  upstream.addImage('team/app', upstreamImage(noiseImage({ name: 'app' }), 'v1'));
  const registries = { [upstream.host]: { endpoint: upstream.origin, credentials: 'none' } };
  const cache = await bench.use(openCache(bench.stack, { registries }));
  await cache.pull(reference);

  const file = join(bench.stack.root, 'entrepot.yaml');
  writeFileSync(file, JSON.stringify({ registries }));
  const names = { POWERTOOLS_METRICS_NAMESPACE: 'Entrepot', POWERTOOLS_SERVICE_NAME: 'entrepot' };
  Object.assign(process.env, bench.stack.environment, names, { ENTREPOT_CONFIG: file });
  ({ handler } = await import('../../../functions/api.ts'));
});
after(() => bench[Symbol.asyncDispose]());

async function ask(asked: Asked): Promise<{ status: number; body: unknown; lines: Record<string, unknown>[] }> {
  const lines: Record<string, unknown>[] = [];
  const answer = await written(lines, () => handler(eventOf(asked), lambdaContext()));
  const { statusCode = 0, body = '' } = answer as APIGatewayProxyStructuredResultV2;
  return { status: statusCode, body: body === '' ? undefined : JSON.parse(body), lines };
}

/** What `action` gives, with the documents that it wrote to the log meanwhile put into `lines`. What else is written is the test runner's. */
async function written<T>(lines: Record<string, unknown>[], action: () => Promise<T>): Promise<T> {
  const restore = [process.stdout, process.stderr].map((stream) => {
    const write: (chunk: string | Uint8Array) => boolean = stream.write.bind(stream);
    stream.write = (chunk: string | Uint8Array): boolean => {
      if (typeof chunk !== 'string' || !chunk.startsWith('{"')) return write(chunk);
      lines.push(JSON.parse(chunk) as Record<string, unknown>);
      return true;
    };
    return () => (stream.write = write);
  });
  try {
    return await action();
  } finally {
    for (const back of restore) back();
  }
}

test('a hit: the receipt, one line of log, one of metrics', async () => {
  upstream.requests.length = 0;
  const { status, body, lines } = await ask({ path: '/v1/pull', body: { reference } });
  assert.equal(status, 200);
  assert.equal((body as Receipt).outcome, 'hit');
  assert.equal(upstream.requests.length, 0);
  const [log, metrics] = [lines.filter((line) => !('_aws' in line)), lines.filter((line) => '_aws' in line)];
  assert.equal(log.length, 1);
  assert.equal(log[0]?.route, 'POST /v1/pull');
  assert.equal(log[0].requestId, lambdaContext().awsRequestId);
  assert.equal(metrics.length, 1);
  assert.equal(metrics[0]?.Hits, 1);
});

test('every other route answers, too', async () => {
  assert.equal((await ask({ path: '/v1/images' })).status, 200);
  assert.equal((await ask({ path: '/v1/validate', body: { reference, deep: true } })).status, 200);
  assert.equal((await ask({ path: '/v1/pulls/00000000-0000-4000-8000-000000000000' })).status, 404);
  const query = `reference=${encodeURIComponent(reference)}`;
  assert.equal((await ask({ method: 'DELETE', path: '/v1/images', query })).status, 204);
});

test('a fault of ours tells its request id alone', async () => {
  const { status, body, lines } = await ask({ path: '/v1/pull', body: { reference: `${upstream.host}/team/app:v2` } });
  assert.equal(status, 500, 'no state machine is named here');
  const problem = body as Problem;
  assert.deepEqual([problem.detail, problem.requestId], [undefined, lambdaContext().awsRequestId]);
  const log = lines.filter((line) => !('_aws' in line));
  assert.equal(log.length, 1);
  assert.match(JSON.stringify(log[0]), /ENTREPOT_STATE_MACHINE/);
});

test('what is no request of an HTTP API is refused', async () => {
  const lines: Record<string, unknown>[] = [];
  await written(lines, () => assert.rejects(handler({ reference }, lambdaContext()), InvalidRequestError));
});
