import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type * as PullFunction from '../../../functions/pull.ts';
import { CacheError, ConfigError } from '../../../lib/errors/cache-error.ts';
import type { Problem } from '../../../lib/http/problem.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { httpEvent, lambdaContext } from '../../support/http-event.ts';
import { multiArchImage, upstreamImage } from '../../support/images.ts';
import { startStack, type TestStack } from '../../support/stack.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';

type Handler = typeof PullFunction.handler;
interface ListAnswer {
  readonly receipts: Receipt[];
  readonly errors: { reference: string; error: Problem }[];
}

let stack: TestStack;
let upstream: TestUpstream;
let handler: Handler;

/** A function as a new execution environment has it: with services of its own, opened from these variables at its first request. */
async function coldStart(environment: Readonly<Record<string, string>>): Promise<Handler> {
  Object.assign(process.env, environment);
  const url = new URL(`../../../functions/pull.ts?${Math.random()}`, import.meta.url);
  return ((await import(url.href)) as typeof PullFunction).handler;
}

before(async () => {
  [stack, upstream] = await Promise.all([startStack(), startUpstream()]);
  const file = join(stack.root, 'entrepot.yaml');
  writeFileSync(
    file,
    `registries: {"${upstream.host}": {endpoint: "${upstream.origin}", credentials: none, allow: ["team/**"]}}\nlimits: {attempts: 2}\n`,
  );
  handler = await coldStart({ ...stack.environment, ENTREPOT_CONFIG: file });
});

after(async () => {
  await upstream.close();
  await stack.close();
});

let images = 0;
/** The reference of an image that nothing has pulled yet. */
function newImage(): string {
  const name = `team/app-${images++}`;
  upstream.addImage(name, upstreamImage(multiArchImage({ name }), 'v1'));
  return `${upstream.host}/${name}:v1`;
}

beforeEach(() => {
  upstream.clearFaults();
  upstream.requests.length = 0;
});

async function post(
  document: unknown,
  remainingMs?: number,
): Promise<{ answer: APIGatewayProxyStructuredResultV2; body: unknown }> {
  const answer = (await handler(
    httpEvent(JSON.stringify(document)),
    lambdaContext(remainingMs),
  )) as APIGatewayProxyStructuredResultV2;
  return { answer, body: JSON.parse(answer.body ?? '') };
}

/** Runs `action` and gives back what it wrote to stderr, one JSON document a line. */
async function logged(action: () => Promise<unknown>): Promise<Record<string, unknown>[]> {
  const written: string[] = [];
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (chunk: string | Uint8Array): boolean => written.push(String(chunk)) > 0;
  try {
    await action();
  } finally {
    process.stderr.write = write;
  }
  return written.map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('POST /v1/pull', () => {
  test('pulls an image, and the second time finds it without a request', async () => {
    const reference = newImage();
    const first = await post({ reference, platforms: ['linux/amd64'] });
    assert.equal(first.answer.statusCode, 200, first.answer.body);
    assert.equal(first.answer.headers?.['content-type'], 'application/json');
    const receipt = first.body as Receipt;
    assert.equal(receipt.reference, reference);
    assert.equal(receipt.outcome, 'pulled');
    assert.equal(receipt.registryRequests.total, upstream.requests.length);

    upstream.requests.length = 0;
    const second = (await post({ reference, platforms: ['linux/amd64'] })).body as Receipt;
    assert.equal(second.outcome, 'hit');
    assert.equal(second.digest, receipt.digest);
    assert.equal(upstream.requests.length, 0);
  });

  test('takes a body in base64', async () => {
    const body = Buffer.from(JSON.stringify({ reference: newImage() })).toString('base64');
    const answer = await handler(httpEvent(body, { isBase64Encoded: true }), lambdaContext());
    assert.equal((answer as APIGatewayProxyStructuredResultV2).statusCode, 200);
  });

  test('names the field of bad input, sends nothing, logs nothing', async () => {
    const lines = await logged(async () => {
      const { answer, body } = await post({ images: [{ reference: 'UPPER' }] });
      assert.equal(answer.statusCode, 400);
      assert.equal(answer.headers?.['content-type'], 'application/problem+json');
      const problem = body as Problem;
      assert.equal(problem.field, 'images[0].reference');
      assert.equal(problem.code, 'NAME_INVALID');
      assert.equal(problem.requestId, lambdaContext().awsRequestId);

      const broken = (await handler(httpEvent('{'), lambdaContext())) as APIGatewayProxyStructuredResultV2;
      assert.equal(broken.statusCode, 400);
      assert.equal((JSON.parse(broken.body ?? '') as Problem).field, 'body');
    });
    assert.deepEqual(lines, []);
    assert.equal(upstream.requests.length, 0);
  });

  test('answers with the status of each error', async () => {
    const statusOf = async (reference: string) => {
      const { answer, body } = await post({ reference });
      return [answer.statusCode, (body as Problem).code];
    };
    assert.deepEqual(await statusOf('registry.elsewhere.test/team/app'), [404, 'NAME_UNKNOWN']);
    assert.deepEqual(await statusOf(`${upstream.host}/other/app`), [404, 'NAME_UNKNOWN'], 'not allowed');
    assert.deepEqual(await statusOf(`${upstream.host}/team/absent`), [404, 'MANIFEST_UNKNOWN']);
    const reference = newImage();
    upstream.fault(when({ kind: 'manifest' }, { status: 403 }));
    assert.deepEqual(await statusOf(reference), [403, 'DENIED']);
    upstream.clearFaults();
    upstream.fault(when({ kind: 'manifest' }, { status: 429, headers: { 'retry-after': '600' } }));
    const { answer, body } = await post({ reference });
    assert.deepEqual([answer.statusCode, (body as Problem).code], [429, 'TOOMANYREQUESTS']);
    assert.equal(answer.headers?.['retry-after'], '600');
  });

  test('a broken upstream is 502, and one line of log that has the request id', async () => {
    const reference = newImage();
    upstream.fault(when({ kind: 'manifest' }, { status: 500 }));
    const lines = await logged(async () => {
      assert.equal((await post({ reference })).answer.statusCode, 502);
    });
    assert.equal(lines.length, 1);
    assert.equal(lines[0]?.requestId, lambdaContext().awsRequestId);
    assert.equal((lines[0].error as Error).name, 'UpstreamUnavailableError');
  });

  test('a list is answered with 200, or 207 where an image failed; the others landed', async () => {
    const [first, second] = [newImage(), newImage()];
    const broken = `${upstream.host}/team/absent:v1`;
    const mixed = await post({ images: [{ reference: first }, { reference: broken }, { reference: second }] });
    assert.equal(mixed.answer.statusCode, 207);
    const { receipts, errors } = mixed.body as ListAnswer;
    assert.deepEqual(
      receipts.map(({ reference, outcome }) => [reference, outcome]),
      [
        [first, 'pulled'],
        [second, 'pulled'],
      ],
    );
    assert.deepEqual(
      errors.map(({ reference, error }) => [reference, error.status]),
      [[broken, 404]],
    );

    const good = await post({ images: [{ reference: first }, { reference: second }] });
    assert.equal(good.answer.statusCode, 200);
    assert.deepEqual(
      (good.body as ListAnswer).receipts.map(({ outcome }) => outcome),
      ['hit', 'hit'],
    );
  });

  test('stops before the deadline with a partial receipt, and leaves no lock behind', async () => {
    const reference = newImage();
    upstream.fault(when({ kind: 'blob' }, { stallAfterBytes: 10 }));
    const startedMs = performance.now();
    const { answer, body } = await post({ reference }, 2_000);
    assert.ok(performance.now() - startedMs < 2_000);
    assert.equal(answer.statusCode, 200, answer.body);
    assert.equal((body as Receipt).outcome, 'partial');

    upstream.clearFaults();
    const againMs = performance.now();
    assert.equal(((await post({ reference })).body as Receipt).outcome, 'pulled');
    assert.ok(performance.now() - againMs < 5_000, 'a lease that was not released would have to lapse first');
  });
});

describe('without HTTP', () => {
  test('a direct invocation gets its receipt, or the error itself', async () => {
    const receipt = (await handler({ reference: newImage() }, lambdaContext())) as Receipt;
    assert.equal(receipt.outcome, 'pulled');
    await logged(() =>
      assert.rejects(handler({ reference: 'UPPER' }, lambdaContext()), /^InvalidRequestError: reference: .*upper-case/),
    );
  });

  test('a schedule input and an EventBridge event get their receipts', async () => {
    const request = { images: [{ reference: newImage(), platforms: ['linux/arm64'] }, { reference: newImage() }] };
    const scheduled = (await handler(request, lambdaContext())) as ListAnswer;
    assert.deepEqual(
      scheduled.receipts.map(({ outcome }) => outcome),
      ['pulled', 'pulled'],
    );
    const event = { version: '0', id: 'x', 'detail-type': 'Pull', source: 'me', detail: request };
    const repeated = (await handler(event, lambdaContext())) as ListAnswer;
    assert.deepEqual(
      repeated.receipts.map(({ outcome }) => outcome),
      ['hit', 'hit'],
    );
  });

  test('one broken image does not stop the others, but fails the invocation', async () => {
    const good = newImage();
    const event = { images: [{ reference: `${upstream.host}/team/absent:v1` }, { reference: good }] };
    const lines = await logged(() =>
      assert.rejects(handler(event, lambdaContext()), (error) => {
        assert.ok(error instanceof CacheError);
        assert.match(error.message, /^1 of 2 images failed\n.*team\/absent:v1: /);
        return true;
      }),
    );
    assert.equal(lines.length, 1);
    assert.equal(((await handler({ reference: good }, lambdaContext())) as Receipt).outcome, 'hit');
  });
});

describe('a function that is not set up', () => {
  test('says so to whoever invokes it, and only its request id over HTTP', async () => {
    const kept = process.env.ENTREPOT_CONFIG ?? '';
    const broken = await coldStart({ ENTREPOT_CONFIG: join(stack.root, 'absent.yaml') });
    try {
      const lines = await logged(async () => {
        await assert.rejects(broken({ reference: 'alpine' }, lambdaContext()), (error) => {
          assert.ok(error instanceof ConfigError);
          assert.match(error.message, /ENTREPOT_CONFIG: .*absent\.yaml: there is no such file/);
          return true;
        });
        const event = httpEvent(JSON.stringify({ reference: 'alpine' }));
        const answer = (await broken(event, lambdaContext())) as APIGatewayProxyStructuredResultV2;
        assert.equal(answer.statusCode, 500);
        assert.doesNotMatch(answer.body ?? '', /absent\.yaml/);
      });
      assert.equal(lines.length, 2);
      for (const line of lines) assert.match((line.error as Error).message, /absent\.yaml/);
    } finally {
      process.env.ENTREPOT_CONFIG = kept;
    }
  });

  test('an unreachable table is 503 with Retry-After', { timeout: 60_000 }, async () => {
    const kept = process.env.AWS_ENDPOINT_URL_DYNAMODB ?? '';
    const lost = await coldStart({ AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:1' });
    try {
      await logged(async () => {
        const event = httpEvent(JSON.stringify({ reference: `${upstream.host}/team/app-0:v1` }));
        const answer = (await lost(event, lambdaContext())) as APIGatewayProxyStructuredResultV2;
        assert.equal(answer.statusCode, 503, answer.body);
        assert.equal(answer.headers?.['retry-after'], '5');
        assert.equal(upstream.requests.length, 0);
      });
    } finally {
      process.env.AWS_ENDPOINT_URL_DYNAMODB = kept;
    }
  });
});
