import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sdkEndpoints } from '../../../lib/config/environment.ts';
import { SkipError } from '../../../lib/doctor/check.ts';
import type { HttpAnswer, HttpCall, Requests } from '../../../lib/doctor/sigv4-requests.ts';
import {
  askApi,
  isLoopbackUrl,
  parseApiUrl,
  parseRegistryUrl,
  readDeployment,
  regionOf,
} from '../../../lib/doctor/target.ts';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';

const API = 'https://abcdefghij.execute-api.eu-central-1.amazonaws.com';
const forever = new AbortController().signal;

function requests(answer: { status: number; text: string }): { calls: [string, HttpCall][]; requests: Requests } {
  const calls: [string, HttpCall][] = [];
  const answered = (how: string, call: HttpCall): Promise<HttpAnswer> => {
    calls.push([how, call]);
    return Promise.resolve({ ...answer, headers: new Headers(), durationMs: 1 });
  };
  return {
    calls,
    requests: {
      plain: (call) => answered('plain', call),
      signed: (service, call) => answered(service, call),
    },
  };
}

test('the address of an API is its base, with or without /v1', () => {
  for (const [text, base] of [
    [API, `${API}/`],
    [`${API}/`, `${API}/`],
    [`${API}/v1`, `${API}/`],
    [`${API}/v1/`, `${API}/`],
    ['https://cache.example.test/team/v1', 'https://cache.example.test/team'],
    ['http://127.0.0.1:8400', 'http://127.0.0.1:8400/'],
    ['http://localhost:8400/v1', 'http://localhost:8400/'],
  ] as const) {
    assert.equal(parseApiUrl(text).href, base, text);
  }
});

test('what is no address of an API is refused', () => {
  for (const text of [
    '',
    'api',
    'http://cache.example.test',
    'ftp://127.0.0.1',
    `${API}?a`,
    `${API}#a`,
    'https://a:b@c',
  ]) {
    assert.throws(() => parseApiUrl(text), InvalidRequestError, text);
  }
});

test('the registry endpoint is a host, with or without /v2', () => {
  for (const text of ['https://cache.example.test', 'https://cache.example.test/', 'https://cache.example.test/v2/']) {
    assert.equal(parseRegistryUrl(text).origin, 'https://cache.example.test', text);
  }
  assert.equal(parseRegistryUrl('http://127.0.0.1:8400/v2').href, 'http://127.0.0.1:8400/');
  for (const text of [
    '',
    'cache.example.test',
    'http://cache.example.test',
    'https://cache.example.test/team',
    'https://cache.example.test/v2/library',
    'https://cache.example.test?a',
  ]) {
    assert.throws(() => parseRegistryUrl(text), { name: 'InvalidRequestError', field: '--registry-url' }, text);
  }
  assert.throws(
    () => parseRegistryUrl('https://me:secret@cache.example.test'),
    (error: Error) => error instanceof InvalidRequestError && !error.message.includes('secret'),
  );
});

test("a region is told by AWS's own names alone", () => {
  assert.equal(regionOf(new URL(API)), 'eu-central-1');
  assert.equal(regionOf(new URL('https://x.execute-api.cn-north-1.amazonaws.com.cn')), 'cn-north-1');
  assert.equal(regionOf(new URL('https://x.execute-api.eu-central-1.amazonaws.com.example.test')), undefined);
  assert.equal(regionOf(new URL('https://cache.example.test')), undefined);
});

test('this machine is known by its names', () => {
  for (const url of ['http://127.0.0.1:1', 'http://localhost', 'http://[::1]:1'])
    assert.ok(isLoopbackUrl(new URL(url)));
  for (const url of ['https://127.0.0.1.example.test', API]) assert.ok(!isLoopbackUrl(new URL(url)));
});

test('the API is asked with a signature, with a token where there is one, or as nobody', async () => {
  const { calls, requests: sender } = requests({ status: 200, text: '{}' });
  const target = { url: API, isLocal: false, region: 'eu-central-1', requests: sender };
  await askApi(target, { path: '/v1/images?limit=1' }, forever);
  await askApi({ ...target, token: 'abc' }, { path: '/v1/pull', method: 'POST', body: '{}' }, forever);
  await askApi({ ...target, token: 'abc' }, { path: '/v1/images', anonymous: true }, forever);
  assert.deepEqual(
    calls.map(([how, { method, url, headers }]) => [how, method, url.href, headers]),
    [
      ['execute-api', 'GET', `${API}/v1/images?limit=1`, {}],
      ['plain', 'POST', `${API}/v1/pull`, { 'content-type': 'application/json', authorization: 'Bearer abc' }],
      ['plain', 'GET', `${API}/v1/images`, {}],
    ],
  );
});

test('what a deployment says of itself is taken only as it is described', async () => {
  const document = {
    version: '1.2.3',
    region: 'eu-central-1',
    stage: 'prod',
    bucket: 'bucket',
    table: 'table',
    stateMachine: null,
    bus: null,
    serve: { front: 'alb', auth: 'none', blobEndpoint: 'https://blobs.example.test' },
    caller: 'arn:aws:iam::123456789012:role/ci',
  };
  const read = (status: number, text: string) =>
    readDeployment({ url: API, isLocal: false, region: 'x', requests: requests({ status, text }).requests }, forever);
  assert.deepEqual(await read(200, JSON.stringify(document)), document);
  for (const [status, text, why] of [
    [403, '{"message":"Forbidden"}', /answered 403/],
    [200, '<html>', /did not answer with JSON/],
    [200, '{"bucket":1}', /did not answer with the description/],
    [
      200,
      JSON.stringify({ ...document, serve: { ...document.serve, front: 'other' } }),
      /did not answer with the description/,
    ],
  ] as const) {
    const found = await read(status, text);
    assert.ok(found instanceof SkipError);
    assert.match(found.message, why);
  }
});

test('where nobody answers, or nothing can be signed, no check can find out anything', async () => {
  const failing = (error: Error) => {
    const fail = (): Promise<HttpAnswer> => Promise.reject(error);
    return readDeployment({ url: API, isLocal: false, region: 'x', requests: { plain: fail, signed: fail } }, forever);
  };
  const refused = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED 192.0.2.1:443') });
  for (const [error, expected] of [
    [refused, /amazonaws\.com does not answer, and every check needs it: .*ECONNREFUSED/],
    [new DOMException('late', 'TimeoutError'), /does not answer, .*: timed out after \d+ s/],
    [Object.assign(new Error('none'), { name: 'CredentialsProviderError' }), /no AWS credentials.*set AWS_PROFILE/],
  ] as const) {
    await assert.rejects(failing(error), { name: 'ConfigError', message: expected });
  }
});

test('the variables of the SDK say where its clients go', () => {
  const { S3, SFN } = sdkEndpoints({
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:2',
  });
  assert.deepEqual([S3?.port, SFN?.port], ['2', '1']);
  assert.deepEqual(Object.values(sdkEndpoints({})), [undefined, undefined, undefined, undefined]);
});
