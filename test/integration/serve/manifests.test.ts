import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { multiArchImage, noiseImage, type Image } from '../../support/images.ts';
import { doorOf } from './transport-under-test.ts';
import { refusalOf, startServeBench, type ServeBench } from './serve-bench.ts';

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
/** What `skopeo`, podman and docker send. */
const DOCKER_ACCEPT = [
  OCI_INDEX,
  OCI_MANIFEST,
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.5',
].join(', ');

let bench: ServeBench;
let app: string;
const image = multiArchImage({ name: 'manifests' });
const child = image.children.get('linux/arm64')!;

before(async () => {
  bench = await startServeBench();
  app = await bench.warm(image, 'team/app');
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.requests.length = 0;
});

const bytesOf = (of: Image, digest: string): Buffer =>
  Buffer.from(of.manifests.get(digest as Image['root']['digest'])!.bytes);

test('the ping says that this is the distribution API, with and without the slash', async () => {
  for (const path of ['/v2/', '/v2']) {
    const { status, headers, body } = await bench.get(path);
    assert.deepEqual([status, headers['docker-distribution-api-version']], [200, 'registry/2.0']);
    assert.deepEqual(JSON.parse(body.toString()), {});
    assert.equal((await bench.head(path)).status, 200);
  }
});

test('GET and HEAD by tag and by digest agree, byte for byte what the registry gave', async () => {
  const { digest } = image.root;
  const answers = await Promise.all(
    ['v1', digest].flatMap((name) => [
      bench.get(`${app}/manifests/${name}`, { accept: DOCKER_ACCEPT }),
      bench.head(`${app}/manifests/${name}`, { accept: DOCKER_ACCEPT }),
    ]),
  );
  const expected = bytesOf(image, digest);
  for (const [at, { status, headers, body }] of answers.entries()) {
    assert.equal(status, 200);
    assert.equal(headers['docker-content-digest'], digest);
    assert.equal(headers.etag, `"${digest}"`);
    assert.equal(headers['content-type'], OCI_INDEX);
    assert.equal(headers['content-length'], String(expected.byteLength));
    assert.deepEqual(body, at % 2 === 0 ? expected : Buffer.alloc(0));
  }
  assert.equal(bench.upstream.requests.length, 0, 'the registry is not asked');
});

test('a child by digest has its own type', async () => {
  const { digest } = child.root;
  const { status, headers, body } = await bench.get(`${app}/manifests/${digest}`, { accept: OCI_MANIFEST });
  assert.deepEqual([status, headers['content-type'], headers['docker-content-digest']], [200, OCI_MANIFEST, digest]);
  assert.deepEqual(body, bytesOf(image, digest));
});

test('Docker’s own types are not touched either', async () => {
  const docker = noiseImage({ name: 'docker types', mediaTypes: 'docker' });
  const base = await bench.warm(docker, 'team/docker');
  const { headers, body } = await bench.get(`${base}/manifests/v1`, { accept: DOCKER_ACCEPT });
  assert.equal(headers['content-type'], 'application/vnd.docker.distribution.manifest.v2+json');
  assert.deepEqual(body, bytesOf(docker, docker.root.digest));
});

test('If-None-Match: 304 without a body for what the client has, by GET and HEAD, tag and digest', async () => {
  const { digest } = image.root;
  for (const method of ['GET', 'HEAD']) {
    for (const name of ['v1', digest]) {
      for (const match of [`"${digest}"`, `W/"${digest}"`, `"x", "${digest}"`, '*']) {
        const told = await bench.ask(`${app}/manifests/${name}`, { method, headers: { 'if-none-match': match } });
        assert.deepEqual([told.status, told.headers.etag, told.body.byteLength], [304, `"${digest}"`, 0], match);
        assert.equal(told.headers['docker-content-digest'], digest);
      }
      const other = await bench.ask(`${app}/manifests/${name}`, { method, headers: { 'if-none-match': '"x"' } });
      assert.equal(other.status, 200);
    }
  }
});

test('Accept: a type that the client does not take is 406, not absent; none, or everything, takes all', async () => {
  const index = `${app}/manifests/v1`;
  for (const accept of [
    OCI_INDEX,
    `text/plain, ${OCI_INDEX};q=0.1`,
    '*/*',
    'application/*',
    OCI_INDEX.toUpperCase(),
    '*/*;q=0.0, application/*;q=0.5',
  ]) {
    assert.equal((await bench.get(index, { accept })).status, 200, accept);
  }
  assert.equal((await bench.get(index)).status, 200);
  for (const accept of [OCI_MANIFEST, 'text/*', 'application/json', `*/*, ${OCI_INDEX};q=0`, '*/*; q=0.000']) {
    const told = await bench.get(index, { accept });
    assert.equal(refusalOf(told), '406 UNSUPPORTED', accept);
    assert.match(told.body.toString(), /which the Accept header of the request does not name/);
    const head = await bench.head(index, { accept });
    assert.deepEqual([head.status, head.body.byteLength], [406, 0]);
  }
});

test('what nobody has is 404, and HEAD says the same without a body', async () => {
  const cases = [
    [`${app}/manifests/nothing`, '404 MANIFEST_UNKNOWN'],
    [`${app}/manifests/sha256:${'0'.repeat(64)}`, '404 MANIFEST_UNKNOWN'],
    [`/v2/registry.example.test/no/such/manifests/v1`, '404 MANIFEST_UNKNOWN'],
    [`${app}/blobs/sha256:${'0'.repeat(64)}`, '404 BLOB_UNKNOWN'],
    ['/v2/registry.example.test/no/such/tags/list', '404 NAME_UNKNOWN'],
    [`${app}/manifests/sha256:abc`, '400 DIGEST_INVALID'],
    [`${app}/blobs/sha512:${'0'.repeat(64)}`, '400 DIGEST_INVALID'],
    [`${app}/blobs/sha512:${'0'.repeat(128)}`, '404 BLOB_UNKNOWN'],
    [`${app}/manifests/sha512:${'0'.repeat(128)}`, '404 MANIFEST_UNKNOWN'],
    [`${app}/manifests/.dot`, '404 MANIFEST_UNKNOWN'],
    ['/v2/Team/App/manifests/v1', '400 NAME_INVALID'],
  ] as const;
  for (const [path, refusal] of cases) {
    const get = await bench.get(path);
    assert.equal(refusalOf(get), refusal, path);
    assert.equal(get.headers['docker-distribution-api-version'], 'registry/2.0');
    assert.equal(get.headers['cache-control'], 'no-store');
    const head = await bench.head(path);
    assert.equal(head.status, get.status, path);
    assert.equal(head.headers['content-type'], 'application/json');
    assert.equal(head.body.byteLength, 0);
  }
});

test('everything else is 405 UNSUPPORTED, and changes nothing', async () => {
  const digest = image.root.digest;
  const paths = [
    '/v2/',
    `${app}/manifests/v1`,
    `${app}/manifests/${digest}`,
    `${app}/blobs/${digest}`,
    `${app}/blobs/uploads/`,
    `${app}/tags/list`,
  ];
  for (const path of paths) {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const told = await bench.ask(path, { method });
      assert.equal(refusalOf(told), '405 UNSUPPORTED', `${method} ${path}`);
      assert.equal(told.headers.allow, 'GET, HEAD');
    }
  }
  for (const path of [`${app}/_catalog`, `${app}/blobs/uploads/abc`, `${app}/tags`, `${app}/other/v1`]) {
    assert.equal(refusalOf(await bench.get(path)), '405 UNSUPPORTED', path);
  }
  for (const path of ['/', '/v1/search', '/v2x', '/metrics']) {
    const told = await bench.get(path);
    assert.deepEqual([told.status, told.headers['content-type']], [404, 'application/problem+json'], path);
  }
  assert.equal((await bench.get(`${app}/manifests/v1`)).status, 200);
});

test('one name in three ways: as a prefix, by "ns", and without either of Docker Hub', async () => {
  bench.upstream.addImage('library/tool', { manifests: [{ ...noiseManifest(), tags: ['v1'] }], blobs: new Map() });
  const byPrefix = await bench.get('/v2/docker.io/library/tool/manifests/v1');
  const byNamespace = await bench.get('/v2/library/tool/manifests/v1?ns=docker.io');
  const plain = await bench.get('/v2/tool/manifests/v1');
  for (const told of [byPrefix, byNamespace, plain]) {
    assert.deepEqual([told.status, told.body], [200, Buffer.from(noiseManifest().bytes)]);
  }
  const sameAsPrefix = await bench.get('/v2/team/app/manifests/v1?ns=registry.example.test');
  assert.equal(sameAsPrefix.headers['docker-content-digest'], image.root.digest);
  assert.equal(bench.upstream.count({ repository: 'library/tool', kind: 'manifest', method: 'HEAD' }), 1);
});

test('a manifest that is too large for its door goes by S3, with its type; HEAD does not', async () => {
  const door = doorOf(bench, { bodyBytes: image.root.size - 1 });
  const { status, headers, body } = await door('GET', `${app}/manifests/v1`);
  assert.deepEqual([status, headers['cache-control'], body], [307, 'no-store', undefined]);
  assert.equal(headers['docker-content-digest'], image.root.digest);
  const told = await bench.get(headers.location!);
  assert.equal(told.headers['content-type'], OCI_INDEX);
  assert.deepEqual(told.body, bytesOf(image, image.root.digest));
  const head = await door('HEAD', `${app}/manifests/v1`);
  assert.deepEqual([head.status, head.headers.location], [200, undefined]);
  assert.equal(head.headers['content-length'], String(image.root.size));
});

function noiseManifest() {
  const tool = noiseImage({ name: 'tool' });
  return { ...tool.manifests.get(tool.root.digest)! };
}
