import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type * as PullFunction from '../../../functions/pull.ts';
import { CacheError } from '../../../lib/errors/cache-error.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { httpEvent, lambdaContext } from '../../support/http-event.ts';
import { multiArchImage, upstreamImage } from '../../support/images.ts';
import { startStack, type TestStack } from '../../support/stack.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';

interface ListAnswer {
  readonly receipts: Receipt[];
}

let stack: TestStack;
let upstream: TestUpstream;
let handler: (typeof PullFunction)['handler'];

before(async () => {
  [stack, upstream] = await Promise.all([startStack(), startUpstream()]);
  const quiet = { POWERTOOLS_METRICS_DISABLED: 'true', POWERTOOLS_LOG_LEVEL: 'SILENT' };
  Object.assign(process.env, stack.environment, quiet, { ENTREPOT_CONFIG: join(stack.root, 'entrepot.yaml') });
  ({ handler } = await import('../../../functions/pull.ts'));
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

const pull = async (document: unknown, remainingMs?: number): Promise<Receipt> =>
  (await handler(document, lambdaContext(remainingMs))) as Receipt;

test('a function that is not set up says so, and works as soon as it is', async () => {
  await assert.rejects(pull({ reference: 'alpine' }), {
    name: 'ConfigError',
    message: /ENTREPOT_CONFIG: .*entrepot\.yaml: there is no such file/,
  });
  const registry = { endpoint: upstream.origin, credentials: 'none', allow: ['team/**'] };
  const config = { registries: { [upstream.host]: registry }, limits: { attempts: 2 } };
  writeFileSync(join(stack.root, 'entrepot.yaml'), JSON.stringify(config));
  assert.equal((await pull({ reference: newImage() })).outcome, 'pulled');
});

test('pulls an image, and the second time finds it without a request', async () => {
  const reference = newImage();
  const first = await pull({ reference, platforms: ['linux/amd64'] });
  assert.equal(first.reference, reference);
  assert.equal(first.outcome, 'pulled');
  assert.equal(first.registryRequests.total, upstream.requests.length);

  upstream.requests.length = 0;
  const second = await pull({ reference, platforms: ['linux/amd64'] });
  assert.equal(second.outcome, 'hit');
  assert.equal(second.digest, first.digest);
  assert.equal(upstream.requests.length, 0);
});

test('with bad input it fails, names the field, and sends nothing', async () => {
  await assert.rejects(pull({ images: [{ reference: 'UPPER' }] }), /^InvalidRequestError: images\[0\]\.reference: /);
  await assert.rejects(pull(httpEvent('{"reference":"alpine"}')), /neither "reference" nor "images"/);
  assert.equal(upstream.requests.length, 0);
});

test('fails with the error itself', async () => {
  await assert.rejects(pull({ reference: 'registry.elsewhere.test/team/app' }), { code: 'NAME_UNKNOWN' });
  await assert.rejects(pull({ reference: `${upstream.host}/other/app` }), { code: 'NAME_UNKNOWN' });
  await assert.rejects(pull({ reference: `${upstream.host}/team/absent` }), { code: 'MANIFEST_UNKNOWN' });
  const reference = newImage();
  upstream.fault(when({ kind: 'manifest' }, { status: 403 }));
  await assert.rejects(pull({ reference }), { code: 'DENIED' });
});

test('of a list it answers with all receipts; one broken image does not stop the others, but fails the invocation', async () => {
  const [first, second] = [newImage(), newImage()];
  const broken = `${upstream.host}/team/absent:v1`;
  const mixed = { images: [{ reference: first }, { reference: broken }, { reference: second }] };
  await assert.rejects(handler(mixed, lambdaContext()), (error) => {
    assert.ok(error instanceof CacheError);
    assert.match(error.message, /^1 of 3 images failed\n.*team\/absent:v1: /);
    return true;
  });
  const good = { images: [{ reference: first }, { reference: second }] };
  const { receipts } = (await handler(good, lambdaContext())) as ListAnswer;
  assert.deepEqual(
    receipts.map(({ reference, outcome }) => [reference, outcome]),
    [
      [first, 'hit'],
      [second, 'hit'],
    ],
  );
});

test('understands what EventBridge delivers', async () => {
  const detail = { images: [{ reference: newImage(), platforms: ['linux/arm64'] }, { reference: newImage() }] };
  const event = { version: '0', id: 'x', 'detail-type': 'Pull', source: 'me', detail };
  const { receipts } = (await handler(event, lambdaContext())) as ListAnswer;
  assert.deepEqual(
    receipts.map(({ outcome }) => outcome),
    ['pulled', 'pulled'],
  );
});

test('stops before the deadline with a partial receipt, and leaves no lock behind', async () => {
  const reference = newImage();
  upstream.fault(when({ kind: 'blob' }, { stallAfterBytes: 10 }));
  const startedMs = performance.now();
  assert.equal((await pull({ reference }, 2_000)).outcome, 'partial');
  assert.ok(performance.now() - startedMs < 2_000);

  upstream.clearFaults();
  const againMs = performance.now();
  assert.equal((await pull({ reference })).outcome, 'pulled');
  assert.ok(performance.now() - againMs < 5_000, 'a lease that was not released would have to lapse first');
});
