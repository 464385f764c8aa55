import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { upstreamLanding } from '../../../lib/serve/upstream-landing.ts';
import { noiseImage, upstreamImage } from '../../support/images.ts';
import { loseContent } from '../../support/lost-content.ts';
import { until } from '../../support/until.ts';
import { when, type Action, type TestUpstream } from '../../support/upstream/upstream.ts';
import { doorOf } from './door-under-test.ts';
import {
  LAYER_BYTES,
  layerOf,
  LOGIN,
  PRIVATE,
  SILENT,
  startRedirectBench,
  type RedirectBench,
} from './redirect-bench.ts';
import { refusalOf, type ServingProcess } from './serve-bench.ts';

const CDN = 'https://cdn.example.test/sha256/ab?expires=1&signature=s3cr3t';

let bench: RedirectBench;
let upstream: TestUpstream;
let mirror: TestUpstream;
let process: ServingProcess;

before(async () => {
  bench = await startRedirectBench();
  ({ upstream, mirror, process } = bench);
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  for (const one of [upstream, mirror, bench.company]) {
    one.clearFaults();
    one.requests.length = 0;
  }
});

const asked = (repository?: string): number =>
  upstream.count({ kind: 'blob', method: 'GET', ...(repository === undefined ? {} : { repository }) });
const redirect = (location: string): Action => ({ status: 307, headers: { location } });
/** To everything that the registry is asked about blobs of the repository, or of all. */
const answering = (action: Action, repository?: string): void => {
  const match = { kind: 'blob', method: 'GET', ...(repository === undefined ? {} : { repository }) } as const;
  upstream.fault(when(match, { body: Buffer.alloc(0), ...action }));
};

describe('a client is sent to where the registry would send it', { concurrency: false }, () => {
  test('by its URL alone, while the fill goes on; whoever comes later is served by the store', async () => {
    answering(redirect(CDN));
    const { path, layer, bytes } = await bench.onItsWay('handed-out');
    const told = await process.get(path, { range: 'bytes=5-' });
    assert.equal(await bench.isPresent(layer), false);
    assert.deepEqual(
      [told.status, told.headers.location, told.headers['cache-control'], told.headers['docker-content-digest']],
      [307, CDN, 'no-store', layer],
    );
    assert.equal(told.body.byteLength, 0);
    await process.settled();
    assert.ok(await bench.isPresent(layer));
    const later = await process.follow(path);
    assert.ok(later.at(-1)!.body.equals(bytes));
    assert.ok(bench.isAtStore(later[0]!));
    assert.equal(asked(), 1);
    assert.equal(mirror.count({ kind: 'blob', method: 'GET', reference: layer }), 1);
  });

  test('HEAD is answered by us', async () => {
    answering(redirect(CDN));
    const { path } = await bench.onItsWay('head');
    const told = await process.head(path);
    assert.deepEqual([told.status, told.headers['content-length']], [200, String(LAYER_BYTES)]);
    assert.equal(told.headers.location, undefined);
    await process.settled();
    assert.equal(asked(), 0);
  });

  test('the fill has begun before, also where nothing but this request would begin it', async () => {
    answering(redirect(CDN));
    const { path, layer, bytes } = await bench.onItsWay('lost');
    await process.settled();
    await bench.deleteObject(layer);
    assert.equal(await loseContent(bench.services.pull, layer), true);
    assert.equal((await process.get(path)).headers.location, CDN);
    assert.ok(process.fills.running > 0);
    await process.settled();
    assert.ok((await process.follow(path)).at(-1)!.body.equals(bytes));
    assert.equal(mirror.count({ kind: 'blob', method: 'GET', reference: layer }), 2);
  });

  test('20 clients at once are one question, and its answer is kept for nobody else', async () => {
    upstream.fault(when({ kind: 'blob', method: 'GET' }, { status: 302, headers: { location: CDN }, delayMs: 1_500 }));
    const { path } = await bench.onItsWay('at-once', { chunkDelayMs: 400 });
    const all = await Promise.all(Array.from({ length: 20 }, () => process.get(path)));
    assert.deepEqual(new Set(all.map(({ headers }) => headers.location)), new Set([CDN]));
    assert.equal(asked(), 1);
    assert.equal((await process.get(path)).headers.location, CDN);
    assert.equal(asked(), 2);
    await process.settled();
  });

  test('with nothing of the credentials that the registry was asked with', async () => {
    const image = noiseImage({ name: 'private', layerBytes: [LAYER_BYTES] });
    const layer = layerOf(image);
    bench.company.addImage('team/app', upstreamImage(image, 'v1'));
    let gets = 0;
    // The first is that of the fill.
    bench.company.fault(({ kind, method, reference }, { status }) => {
      if (kind !== 'blob' || method !== 'GET' || reference !== layer || status !== 200) return undefined;
      return ++gets === 1
        ? { chunkDelayMs: 60 }
        : { status: 307, headers: { location: CDN }, body: Buffer.from('to the CDN') };
    });
    const base = `/v2/${PRIVATE}/team/app`;
    assert.equal((await process.get(`${base}/manifests/v1`)).status, 200);
    await until(() => gets === 1);
    const told = await process.get(`${base}/blobs/${layer}`);
    assert.equal(told.headers.location, CDN);
    const { authorization = '' } = bench.company.requests.at(-1)!.headers;
    assert.match(authorization, /^Bearer .{10}/);
    const everything = JSON.stringify([told.headers, told.body.toString(), process.log]);
    for (const secret of [authorization.slice('Bearer '.length), LOGIN.password, LOGIN.username]) {
      assert.ok(!everything.includes(secret));
    }
    assert.ok(!JSON.stringify(process.log).includes('s3cr3t'), 'nor is the URL in the log');
    await process.settled();
    assert.ok(bench.isAtStore(await process.get(`${base}/blobs/${layer}`)));
    assert.equal(gets, 2);
  });
});

describe('else it waits', { concurrency: false }, () => {
  const cases: Readonly<Record<string, Action>> = {
    'the host is not named': redirect('https://other.example.test/x'),
    http: redirect('http://cdn.example.test/x'),
    'another port': redirect('https://cdn.example.test:8443/x'),
    'user info': redirect('https://user:word@cdn.example.test/x'),
    'a private address': redirect('https://within.blobs.example.test/x'),
    'one private address': redirect('https://mixed.blobs.example.test/x'),
    'a name that does not exist': redirect('https://nobody.blobs.example.test/x'),
    'an address': redirect('https://93.184.215.14/x'),
    'the registry itself': redirect('/elsewhere'),
    'no Location': { status: 307 },
    'the bytes themselves': { body: Buffer.alloc(LAYER_BYTES), chunkDelayMs: 60 },
    'a limit': { status: 429, headers: { 'retry-after': '60' } },
    'an error of the registry': { status: 503 },
    'a refusal': { status: 403 },
    'no such blob': { status: 404 },
    'a broken connection': { reset: true },
  };
  const says = async (why: string, action: Action): Promise<void> => {
    await using fresh = await bench.another();
    const name = why.toLowerCase().replaceAll(' ', '-');
    answering(action, `app/${name}`);
    const { path, bytes } = await bench.onItsWay(name, { at: fresh, chunkDelayMs: 150 });
    const all = await fresh.follow(path);
    const last = all.at(-1)!;
    assert.ok(last.body.equals(bytes), `${why}: ${last.status} ${last.body.toString().slice(0, 200)}`);
    for (const told of all.slice(0, -1)) {
      const isOurs = bench.isAtStore(told) || told.headers.location!.startsWith('/v2/');
      assert.ok(isOurs, `${why}: ${told.headers.location}`);
    }
    assert.equal(asked(`app/${name}`), 1, why);
    await fresh.settled();
  };

  test('whatever else the registry says', async () => {
    const left = Object.entries(cases);
    const oneAfterTheOther = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) await says(...next);
    };
    await Promise.all([oneAfterTheOther(), oneAfterTheOther(), oneAfterTheOther(), oneAfterTheOther()]);
    assert.equal(upstream.count({ kind: 'other' }), 0);
  });

  test('and the log says why, without the URL', async () => {
    answering(redirect('https://other.example.test/secret-path?signature=s3cr3t'));
    const { path } = await bench.onItsWay('told');
    process.log.length = 0;
    await process.follow(path);
    const reasons = process.log.map(({ fields }) => String(fields.reason));
    assert.ok(reasons.some((reason) => /other\.example\.test.*"passRedirects" of the registry/.test(reason)));
    assert.ok(!/secret-path|s3cr3t/.test(JSON.stringify(process.log)));
    await process.settled();
  });

  test('a registry that fails at that is not asked for it again at once, and for manifests as ever', async () => {
    await using fresh = await bench.another();
    answering({ status: 429, headers: { 'retry-after': '60' } });
    const first = await bench.onItsWay('limited', { at: fresh });
    await fresh.follow(first.path);
    const second = await bench.onItsWay('limited-again', { at: fresh });
    await fresh.follow(second.path);
    assert.equal(asked(), 1);
    await fresh.settled();
  });

  test('a registry that is late is waited for no longer than a moment', async () => {
    await using fresh = await bench.another();
    upstream.fault(when({ kind: 'blob', method: 'GET' }, { delayMs: 15_000 }));
    const first = await bench.onItsWay('late', { at: fresh });
    const told = await fresh.get(first.path);
    assert.ok(bench.isAtStore(told));
    assert.ok(told.ms < 8_000, `${told.ms} ms`);
    assert.equal(asked(), 1);
    await fresh.settled();
  });

  test('and whoever comes back is not asked for again', async () => {
    await using fresh = await bench.another();
    fresh.patienceMs = 400;
    answering({ body: Buffer.alloc(10) });
    const { path, bytes } = await bench.onItsWay('comes-back', { at: fresh, chunkDelayMs: 100 });
    const all = await fresh.follow(path);
    assert.match(all[0]!.headers.location!, /[?&]hop=1\./);
    assert.ok(all.at(-1)!.body.equals(bytes));
    assert.equal(asked(), 1);
    await fresh.settled();
  });

  test('a registry without "passRedirects", and every one where clients shall wait, is not asked', async () => {
    answering(redirect(CDN));
    const silent = await bench.onItsWay('silent', { registry: SILENT });
    assert.ok(bench.isAtStore(await process.get(silent.path)));
    const serve = { ...bench.services.config.serve, onBlobMiss: 'wait' } as const;
    await using waiting = await bench.another({ ...bench.services, config: { ...bench.services.config, serve } });
    const { path } = await bench.onItsWay('waits', { at: waiting });
    assert.ok(bench.isAtStore(await waiting.get(path)));
    await process.settled();
    await waiting.settled();
    assert.equal(asked(), 0);
  });

  test('a digest that no manifest of the repository names is not found, and nobody is asked (I9)', async () => {
    answering(redirect(CDN));
    const { base } = await bench.onItsWay('strange');
    const other = await bench.onItsWay('elsewhere');
    await until(() => mirror.count({ kind: 'blob', reference: other.layer }) === 1);
    const before = upstream.requests.length;
    const told = await process.get(`${base}/blobs/${other.layer}`);
    assert.equal(refusalOf(told), '404 BLOB_UNKNOWN');
    assert.equal(upstream.requests.length, before);
    await process.settled();
  });
});

test('whoever hands a URL out looks at it again; who is sent on takes no seat of those who wait', async () => {
  const { services } = bench;
  const { path } = await bench.onItsWay('looked-at');
  for (const [location, status] of [
    [CDN, 307],
    ['http://cdn.example.test/x', 503],
    ['https://other.example.test/x', 503],
    ['https://a:b@cdn.example.test/x', 503],
  ] as const) {
    const landing = { ...upstreamLanding(services.pull), locate: () => Promise.resolve(new URL(location)) };
    const door = doorOf({ services, fills: process.fills }, { landing, seats: 0 });
    const told = await door('GET', path);
    assert.equal(told.status, status, location);
    assert.equal(told.headers.location, status === 307 ? location : undefined);
  }
  await process.settled();
});
