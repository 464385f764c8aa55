import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startSampleRegistry, type SampleRegistry } from '../../../infra/local/sample/sample-registry.ts';
import { multiArchImage } from '../../support/images.ts';

const image = multiArchImage({ name: 'registry', layerBytes: [5_000] });
const [blobDigest, blob] = [...image.blobs].find(([, bytes]) => bytes.byteLength === 5_000)!;
let registry: SampleRegistry;

before(async () => {
  registry = await startSampleRegistry();
  registry.publish('team/app', 'v1', image);
});
after(() => registry.close());

const ask = (path: string, init?: RequestInit): Promise<Response> => fetch(`${registry.origin}/v2/${path}`, init);
const bytesOf = async (response: Response): Promise<Buffer> => Buffer.from(await response.arrayBuffer());

test('it greets', async () => {
  const response = await ask('');
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('docker-distribution-api-version'), 'registry/2.0');
  await response.body?.cancel();
});

test('manifests by tag and by digest, GET and HEAD alike', async () => {
  for (const pointer of ['v1', image.root.digest]) {
    const got = await ask(`team/app/manifests/${pointer}`);
    assert.deepEqual(await bytesOf(got), Buffer.from(image.root.bytes));
    const head = await ask(`team/app/manifests/${pointer}`, { method: 'HEAD' });
    for (const { headers, status } of [got, head]) {
      assert.equal(status, 200);
      assert.equal(headers.get('docker-content-digest'), image.root.digest);
      assert.equal(headers.get('content-type'), image.root.mediaType);
      assert.equal(headers.get('content-length'), String(image.root.size));
    }
  }
});

test('blobs whole and in ranges', async () => {
  const path = `team/app/blobs/${blobDigest}`;
  const whole = await ask(path);
  assert.deepEqual(await bytesOf(whole), Buffer.from(blob));
  const cases: [range: string, status: number, first: number, end: number][] = [
    ['bytes=0-99', 206, 0, 100],
    ['bytes=100-', 206, 100, 5_000],
    ['bytes=-10', 206, 4_990, 5_000],
    ['bytes=4999-9999', 206, 4_999, 5_000],
    ['bytes=9-5', 200, 0, 5_000],
    ['lines=1-2', 200, 0, 5_000],
    ['bytes=5000-', 416, 0, 0],
    ['bytes=-0', 416, 0, 0],
  ];
  for (const [range, status, first, end] of cases) {
    const response = await ask(path, { headers: { range } });
    assert.equal(response.status, status, range);
    assert.deepEqual(await bytesOf(response), Buffer.from(blob).subarray(first, end), range);
    if (status === 206) assert.equal(response.headers.get('content-range'), `bytes ${first}-${end - 1}/5000`);
  }
});

test('what is not there is a 404 with the code of the specification; other methods are refused', async () => {
  const cases: [path: string, method: string, status: number, code: string][] = [
    ['team/app/manifests/v2', 'GET', 404, 'MANIFEST_UNKNOWN'],
    [`team/app/blobs/sha256:${'0'.repeat(64)}`, 'GET', 404, 'BLOB_UNKNOWN'],
    ['team/other/manifests/v1', 'GET', 404, 'NAME_UNKNOWN'],
    ['team/app/manifests/v1', 'PUT', 405, 'UNSUPPORTED'],
  ];
  for (const [path, method, status, code] of cases) {
    const response = await ask(path, { method });
    assert.equal(response.status, status, path);
    assert.equal(((await response.json()) as { errors: { code: string }[] }).errors[0]?.code, code);
  }
});

test('every request is in the log, and a moved tag is seen at once', async () => {
  const already = registry.requests.length;
  const next = multiArchImage({ name: 'registry, next' });
  registry.publish('team/app', 'moving', image);
  registry.publish('team/app', 'moving', next);
  const head = await ask('team/app/manifests/moving', { method: 'HEAD' });
  assert.equal(head.headers.get('docker-content-digest'), next.root.digest);
  await (await ask(`team/app/blobs/${blobDigest}`)).arrayBuffer();
  assert.deepEqual(registry.requests.slice(already), [
    { method: 'HEAD', path: '/v2/team/app/manifests/moving', kind: 'manifest' },
    { method: 'GET', path: `/v2/team/app/blobs/${blobDigest}`, kind: 'blob' },
  ]);
});

test('close ends it, twice too', async () => {
  const other = await startSampleRegistry();
  await other.close();
  await other.close();
  await assert.rejects(fetch(`${other.origin}/v2/`));
});
