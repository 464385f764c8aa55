import assert from 'node:assert/strict';
import diagnostics from 'node:diagnostics_channel';
import { createServer, connect, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { noiseImage, noiseLayer, upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { refusalOf, REGISTRY, startServeBench, type ServeBench, type Told } from './serve-bench.ts';

/** Of the company: with a password. Whoever reaches the cache may pull what its rule allows. */
const PRIVATE = 'private.example.test';
const LOGIN = { username: 'alice', password: 'the secret of alice' };
const SECRET_BYTES = 6_001;

let bench: ServeBench;
let company: TestUpstream;
let trap: Server;
let trapPort = 0;
let trapped = 0;
/** Whom the cache connected to, by whatever name it knew them. */
const dialled: string[] = [];
const secret = noiseImage({ name: 'secret', sharedLayers: [noiseLayer(SECRET_BYTES, 'secret layer')] });

const onConnect = (message: unknown): void => {
  const { connectParams: params } = message as { connectParams: { host: string } };
  dialled.push(params.host);
};

before(async () => {
  trap = createServer((socket) => {
    trapped++;
    socket.destroy();
  });
  trap.listen(0, '127.0.0.1');
  await once(trap, 'listening');
  trapPort = (trap.address() as AddressInfo).port;
  company = await startUpstream({ auth: { kind: 'basic', users: { [LOGIN.username]: LOGIN.password } } });
  bench = await startServeBench({
    registries: () => ({
      [PRIVATE]: { endpoint: company.origin, credentials: 'docker', allow: ['team/**', 'other/**'] },
    }),
  });
  await writeFile(
    join(bench.cache.environment.DOCKER_CONFIG!, 'config.json'),
    JSON.stringify({ auths: { [PRIVATE]: LOGIN } }),
  );
  company.addImage('team/app', upstreamImage(secret, 'v1'));
  await bench.cache.pull(`${PRIVATE}/team/app:v1`);
  diagnostics.subscribe('undici:client:beforeConnect', onConnect);
});
after(async () => {
  diagnostics.unsubscribe('undici:client:beforeConnect', onConnect);
  await bench[Symbol.asyncDispose]();
  await company.close();
  trap.close();
});
beforeEach(() => {
  bench.upstream.requests.length = 0;
  company.requests.length = 0;
  dialled.length = 0;
  trapped = 0;
});

const layerOf = (image: Image): Digest =>
  [...image.blobs].find(([, { byteLength }]) => byteLength === SECRET_BYTES)![0];
const leaks = (told: Told): boolean => told.status < 400;

/** One request as bytes: what no HTTP client would send. */
async function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(bench.origin);
  const socket = connect(Number(port), hostname);
  socket.end(text);
  let answer = '';
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => (answer += chunk));
  // A server that does not read on may reset the connection, and take its answer back with that.
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.on('close', resolve));
  return answer;
}
const statusIn = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]);
/** Refused so, or the connection was reset. */
const isCutOff = (answer: string, status: number): boolean => answer === '' || statusIn(answer) === status;

describe('what clients name is a key, never an address', { concurrency: false }, () => {
  const nobody = () => [
    `127.0.0.1:${trapPort}`,
    `127.0.0.1`,
    `localhost:${trapPort}`,
    `[::1]:${trapPort}`,
    `[::ffff:127.0.0.1]:${trapPort}`,
    `169.254.169.254`,
    'evil.test',
    'evil.test:443',
    'registry.example.test.evil.test',
    'registry.example.test.',
    `registry.example.test:${trapPort}`,
    'docker.io.evil.test',
    '0x7f000001',
    '2130706433',
  ];
  const odd = () => [
    `http://127.0.0.1:${trapPort}`,
    `//127.0.0.1:${trapPort}`,
    `user@127.0.0.1:${trapPort}`,
    `${REGISTRY}@127.0.0.1:${trapPort}`,
    `${REGISTRY}#@127.0.0.1:${trapPort}`,
    `${REGISTRY}/../127.0.0.1:${trapPort}`,
    `${REGISTRY}\r\nhost: evil.test`,
    `${REGISTRY}\0`,
    ' ',
    '',
    'a'.repeat(2_000),
  ];
  const kinds = (name: string): string[] => [
    `${name}/manifests/v1`,
    `${name}/manifests/sha256:${'0'.repeat(64)}`,
    `${name}/blobs/sha256:${'0'.repeat(64)}`,
    `${name}/referrers/sha256:${'0'.repeat(64)}`,
    `${name}/tags/list`,
  ];

  test('"ns" of nobody’s: nothing is dialled, and nobody is asked', async () => {
    for (const ns of [...nobody(), ...odd()]) {
      for (const rest of kinds('/v2/library/alpine')) {
        const told = await bench.get(`${rest}?ns=${encodeURIComponent(ns)}`);
        assert.match(refusalOf(told), /^40[04] (NAME_UNKNOWN|NAME_INVALID)$/, `${ns} ${rest}`);
        assert.ok(!told.body.includes('127.0.0.1') || ns.includes('127.0.0.1'), 'nothing of ours is shown');
      }
    }
    const twice = await bench.get(`/v2/library/alpine/manifests/v1?ns=${REGISTRY}&ns=127.0.0.1:${trapPort}`);
    assert.equal(refusalOf(twice), '400 NAME_INVALID');
    assert.deepEqual([dialled, trapped, bench.upstream.requests, company.requests], [[], 0, [], []]);
  });

  test('names that look like registries: the same', async () => {
    for (const name of nobody().filter((one) => /[.:[]/.test(one) || one === 'localhost')) {
      for (const rest of kinds(`/v2/${name}/x/y`)) {
        assert.match(refusalOf(await bench.get(rest)), /^40[045] /, rest);
      }
    }
    for (const path of ['/v2/evil.com/x/manifests/v1', `/v2/[::1]:80/x/manifests/v1`, '/v2/localhost/x/manifests/v1']) {
      assert.equal(refusalOf(await bench.get(path)), '404 NAME_UNKNOWN', path);
    }
    assert.deepEqual([dialled, trapped, bench.upstream.requests, company.requests], [[], 0, [], []]);
  });

  test('no header of a client leads anywhere: Host, X-Forwarded-*, absolute targets', async () => {
    const headers = {
      host: `127.0.0.1:${trapPort}`,
      'x-forwarded-host': `127.0.0.1:${trapPort}`,
      forwarded: `host=127.0.0.1:${trapPort};proto=http`,
      authorization: `Basic ${Buffer.from('mallory:x').toString('base64')}`,
    };
    const told = await bench.get(`/v2/${REGISTRY}/no/such/manifests/v1`, headers);
    assert.equal(told.status, 404);
    const [asked] = bench.upstream.requests;
    assert.ok(asked !== undefined);
    assert.ok(dialled.length > 0, 'and dialling would be seen');
    assert.equal(asked.headers.authorization, undefined, 'the client’s password stays here');
    assert.equal(asked.headers['x-forwarded-host'], undefined);
    assert.equal(asked.headers.host, bench.upstream.host);
    const absolute = await raw(
      `GET http://127.0.0.1:${trapPort}/v2/library/x/manifests/v1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    );
    assert.equal(statusIn(absolute), 404);
    assert.equal(trapped, 0);
  });
});

describe('paths', { concurrency: false }, () => {
  test('what could be decoded, resolved or cut is refused, wherever it stands', async () => {
    const paths = [
      `/v2/${REGISTRY}%2fteam/app/manifests/v1`,
      `/v2/${REGISTRY}/team%2Fapp/manifests/v1`,
      `/v2/${REGISTRY}/team/app/manifests/v1%3fns=evil.test`,
      `/v2/${REGISTRY}/team/app/manifests/v1%23x`,
      `/v2/${REGISTRY}/team/app/manifests/v1%00`,
      `/v2/${REGISTRY}/team/app/manifests/%76%31`,
      `/v2/${REGISTRY}/team/../${PRIVATE}/team/app/manifests/v1`,
      `/v2/${REGISTRY}/./team/app/manifests/v1`,
      `/v2/${REGISTRY}/%2e%2e/app/manifests/v1`,
      `/v2/${REGISTRY}//team/app/manifests/v1`,
      `/v2//${REGISTRY}/team/app/manifests/v1`,
      `/v2/${REGISTRY}/team/app//manifests/v1`,
      `/v2/${REGISTRY}/team\\app/manifests/v1`,
      `/v2/${REGISTRY}/team;x/manifests/v1`,
      `/v2/${REGISTRY}/team@sha256:abc/manifests/v1`,
      `/v2/${REGISTRY}/team:v1/manifests/v1`,
      `/v2/${REGISTRY}/TEAM/app/manifests/v1`,
      `/v2/${REGISTRY}/-team/app/manifests/v1`,
      `/v2/${REGISTRY}/${'a'.repeat(300)}/manifests/v1`,
      `/v2/${REGISTRY}/team/app/manifests/${'t'.repeat(129)}`,
      `/v2/${REGISTRY}/team/app/manifests/v1:x`,
      `/v2/${REGISTRY}/team/app/blobs/sha256:${'A'.repeat(64)}`,
      `/v2/${REGISTRY}/team/app/blobs/sha256:../../../etc/passwd`,
    ];
    for (const path of paths) {
      const told = await bench.get(path);
      assert.ok(told.status === 400 || told.status === 404 || told.status === 405, `${told.status} ${path}`);
      refusalOf(told);
    }
    assert.deepEqual([dialled, bench.upstream.requests, company.requests], [[], [], []]);
  });

  test('a path that is cut would be another: too long is refused, however its colons are written', async () => {
    const tag = 't'.repeat(128);
    const long = `/v2/${'%3a'.repeat(50)}${'a/'.repeat(400)}x/manifests/${tag}`;
    for (const path of [long, `/v2/${REGISTRY}/${'a/'.repeat(2_000)}x/manifests/v1`]) {
      assert.equal(refusalOf(await bench.get(path)), '400 NAME_INVALID');
    }
  });

  test('headers and targets that are too large, or none, end that connection and nothing else', async () => {
    const close = 'host: x\r\nconnection: close\r\n\r\n';
    assert.ok(isCutOff(await raw(`GET /v2/ HTTP/1.1\r\nx: ${'a'.repeat(64 * 1024)}\r\n${close}`), 431));
    assert.ok(isCutOff(await raw(`GET /v2/${'a'.repeat(64 * 1024)} HTTP/1.1\r\n${close}`), 431));
    const many = Array.from({ length: 3_000 }, (_, i) => `x${i}: y\r\n`).join('');
    const flood = await raw(`GET /v2/ HTTP/1.1\r\n${many}${close}`);
    assert.ok(statusIn(flood) === 200 || isCutOff(flood, 431));
    assert.equal(statusIn(await raw(`GET /v2/\0 HTTP/1.1\r\n${close}`)), 400);
    assert.equal(statusIn(await raw('nonsense\r\n\r\n')), 400);
    const smuggled = await raw(
      `POST /v2/ HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n${close}0\r\n\r\nGET /v2/x HTTP/1.1\r\n\r\n`,
    );
    assert.equal(statusIn(smuggled), 400);
    assert.equal((await bench.get('/v2/')).status, 200);
    const query = await bench.get(`/v2/?${'q=1&'.repeat(5_000)}`);
    assert.equal(query.status, 200);
  });

  test('nothing that a client sends becomes a header of the answer', async () => {
    const image = noiseImage({ name: 'headers', layerBytes: [9_000] });
    const base = await bench.warm(image, 'attacks/headers');
    for (let i = 0; i < 3; i++) await bench.warm(image, 'attacks/headers', `t${i}`);
    const evil = encodeURIComponent('x\r\nset-cookie: a=b\r\n\r\n<html>');
    for (const path of [
      `${base}/tags/list?n=1&last=${evil}`,
      `${base}/tags/list?n=1&x=${evil}`,
      `${base}/manifests/v1?ns=${evil}`,
      `${base}/blobs/${image.root.digest}?hop=${evil}`,
      `${base}/referrers/${image.root.digest}?artifactType=${evil}`,
      `${base}/manifests/v1${evil}`,
    ]) {
      const { headers } = await bench.get(path);
      assert.equal(headers['set-cookie'], undefined, path);
      for (const [name, value] of Object.entries(headers)) assert.ok(!/[\r\n]/.test(String(value)), `${path} ${name}`);
    }
    const { headers } = await bench.get(`${base}/tags/list?n=1&x=${encodeURIComponent('>; rel="evil"')}`);
    assert.match(String(headers.link), /^<[^<>]+>; rel="next"$/);
  });
});

describe('bodies that nobody reads', { concurrency: false }, () => {
  /** Sends the head, and goes on sending until the connection ends: the answer, and the bytes that were taken. */
  async function pour(head: string): Promise<{ answer: string; taken: number; ms: number }> {
    const startedMs = performance.now();
    const { hostname, port } = new URL(bench.origin);
    const socket = connect(Number(port), hostname);
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const part = Buffer.concat([Buffer.from(`${chunk.byteLength.toString(16)}\r\n`), chunk, Buffer.from('\r\n')]);
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => (answer += text));
    socket.on('error', () => undefined);
    const more = (): void => {
      while (!socket.destroyed && socket.writable && socket.write(part));
    };
    socket.on('drain', more);
    socket.write(`${head}\r\nhost: x\r\n\r\n`);
    more();
    await new Promise((resolve) => socket.once('close', resolve));
    return { answer, taken: socket.bytesWritten, ms: performance.now() - startedMs };
  }
  const ENDLESS = 'transfer-encoding: chunked';

  test('an endless one, or one of a terabyte: answered as without it, then the connection ends', async () => {
    for (const [line, fields, status] of [
      ['GET /v2/', ENDLESS, 200],
      ['GET /v2/', 'content-length: 1000000000000', 200],
      ['HEAD /v2/', ENDLESS, 200],
      [`GET /v2/${REGISTRY}/no/such/manifests/v1`, ENDLESS, 404],
      [`POST /v2/${REGISTRY}/team/app/blobs/uploads/`, ENDLESS, 405],
      [`PUT /v2/${REGISTRY}/team/app/manifests/v1`, 'content-length: 1000000000000', 405],
      [`PATCH /v2/${REGISTRY}/team/app/blobs/uploads/x`, `${ENDLESS}\r\nexpect: 100-continue`, 405],
      ['POST /elsewhere', ENDLESS, 404],
    ] as const) {
      const { answer, taken, ms } = await pour(`${line} HTTP/1.1\r\n${fields}`);
      const what = `${line} ${fields}: ${answer.slice(0, 200)}`;
      assert.equal(statusIn(answer), status, what);
      assert.match(answer, /^connection: close\r$/im, what);
      assert.ok(taken < 64 * 1024 * 1024, `${what}: ${taken} bytes`);
      assert.ok(ms < 15_000, `${what}: ${ms} ms`);
    }
  });

  test('one that never comes: answered, and not waited for', async () => {
    const { hostname, port } = new URL(bench.origin);
    const socket = connect(Number(port), hostname);
    socket.setEncoding('latin1');
    let answer = '';
    socket.on('data', (text: string) => (answer += text));
    socket.write(
      'PUT /v2/library/x/manifests/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n',
    );
    await once(socket, 'close', { signal: AbortSignal.timeout(15_000) });
    assert.equal(statusIn(answer), 405, answer);
    assert.ok(!answer.includes('100 Continue'));
  });

  test('a short one that came whole: the connection goes on', async () => {
    const one = (path: string, more = ''): string =>
      `GET ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n${more}\r\nabc`;
    const answers = await raw(`${one('/v2/')}${one('/v2/elsewhere', 'connection: close\r\n')}`);
    assert.deepEqual(
      [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status),
      ['200', '405'],
    );
  });
});

describe('I9: knowing a digest is not owning it', { concurrency: false }, () => {
  test('what is private is where it belongs', async () => {
    const base = `/v2/${PRIVATE}/team/app`;
    assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
    assert.equal((await bench.follow(`${base}/blobs/${layerOf(secret)}`)).at(-1)!.body.byteLength, SECRET_BYTES);
  });

  test('digests of another repository are 404 through all others, GET and HEAD', async () => {
    bench.offer(noiseImage({ name: 'innocent' }), 'mallory/app');
    const digests = [...secret.blobs.keys(), ...secret.manifests.keys()];
    for (const base of [`/v2/${REGISTRY}/mallory/app`, `/v2/${PRIVATE}/other/app`, '/v2/library/mallory']) {
      await bench.get(`${base}/manifests/v1`);
      for (const digest of digests) {
        for (const kind of ['blobs', 'manifests']) {
          for (const method of ['GET', 'HEAD']) {
            const told = await bench.ask(`${base}/${kind}/${digest}`, { method });
            assert.equal(told.status, 404, `${method} ${base} ${kind}`);
          }
        }
      }
    }
  });

  test('a manifest that only names the private blob does not get it', async () => {
    const hostile = noiseImage({ name: 'hostile', sharedLayers: [noiseLayer(SECRET_BYTES, 'secret layer')] });
    const base = bench.offer(hostile, 'mallory/names');
    bench.upstream.deleteBlob('mallory/names', layerOf(hostile));
    assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
    const told = await bench.get(`${base}/blobs/${layerOf(hostile)}`);
    assert.ok(!leaks(told), `${told.status} ${told.headers.location ?? ''}`);
    await bench.settled();
    assert.ok(!leaks(await bench.get(`${base}/blobs/${layerOf(hostile)}`)));
    assert.equal(company.requests.length, 0, 'the owner is not asked for it');
  });

  test('a registry that has it itself proves that, and serves it from then on', async () => {
    const owner = noiseImage({ name: 'owner', sharedLayers: [noiseLayer(SECRET_BYTES, 'secret layer')] });
    const base = bench.offer(owner, 'mallory/owns');
    await bench.get(`${base}/manifests/v1`);
    const all = await bench.follow(`${base}/blobs/${layerOf(owner)}`);
    assert.equal(all.at(-1)!.body.byteLength, SECRET_BYTES);
    assert.equal(bench.upstream.count({ reference: layerOf(owner), method: 'GET' }), 1);
  });

  test('what the configuration does not allow looks like what does not exist', async () => {
    company.addImage('hidden/app', upstreamImage(secret, 'v1'));
    const hidden = await bench.get(`/v2/${PRIVATE}/hidden/app/manifests/v1`);
    const absent = await bench.get(`/v2/${PRIVATE}/nothing/app/manifests/v1`);
    assert.equal(refusalOf(hidden), '404 NAME_UNKNOWN');
    assert.equal(refusalOf(hidden), refusalOf(absent));
    assert.equal(hidden.body.toString().replaceAll('hidden', 'nothing'), absent.body.toString());
    assert.equal(company.requests.length, 0);
  });

  test('no answer and no line of the log has a password', () => {
    const text = JSON.stringify(bench.log);
    assert.ok(!text.includes(LOGIN.password));
    assert.ok(!text.includes(Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString('base64')));
    assert.ok(!text.includes('X-Amz-Signature'));
  });
});
