/*
 * All clients at once pull an image with one large layer that its registry sends slowly, after one more has begun and left: no answer takes too long, each
 * client is sent back to the waiting room, and the registry is asked for each blob once.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { LoggedRequest } from '../../support/http-fault-proxy.ts';
import { buildImage, noise, upstreamImage } from '../../support/images.ts';
import { until } from '../../support/until.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { install } from '../install.ts';
import { closureOf, manifestOf } from '../registry/closure.ts';
import { assertAskedOnce } from './support/client-bench.ts';
import { startCtr } from './support/containerd.ts';
import { startDocker } from './support/dockerd.ts';
import { startPodman } from './support/podman.ts';
import { nameAtCache, timed, type ClientPlace, type RegistryClient } from './support/registry-client.ts';
import { startServedCache, type Door, type ServedCache } from './support/served-cache.ts';
import { startSkopeo } from './support/skopeo.ts';
import { NAMED } from './support/upstreams.ts';

const CLIENTS: Readonly<Record<string, (place: ClientPlace) => RegistryClient | Promise<RegistryClient>>> = {
  skopeo: startSkopeo,
  containerd: startCtr,
  podman: startPodman,
  dockerd: startDocker,
};
const LOGIN = { user: 'ci', password: 'p+ss/word=' };
const LAYER_BYTES = 300_000_000;
/** With the time that a chunk of 64 KiB takes itself, some 10 MB/s. */
const CHUNK_DELAY_MS = 5;
/** The waiting room answers after 20 s; containerd goes after 30 s. */
const LONGEST_ANSWER_MS = 25_000;

/** Whoever asks first starts the pull of the cache. */
async function beginAndLeave(digest: string): Promise<void> {
  const { door } = leaver;
  const client = startSkopeo(leaver);
  const left = new AbortController();
  const pull = client.pull(nameAtCache(door, NAMED, 'team/large:v1'), { signal: left.signal });
  await Promise.all([
    assert.rejects(pull, { name: 'AbortError' }),
    until(() => door.requestsFor(digest).length > 0 && upstream.count({ reference: digest }) > 0).finally(() =>
      left.abort(),
    ),
  ]);
}

const resources = new AsyncDisposableStack();
const places: { name: string; door: Door; client: RegistryClient }[] = [];
let leaver: ClientPlace;
let upstream: TestUpstream;
let cache: ServedCache;

before(
  async () => {
    await install('skopeo', 'containerd', 'ctr', 'podman');
    const folder = mkdtempSync(join(tmpdir(), 'entrepot-large-'));
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    upstream = resources.use(await startUpstream());
    cache = resources.use(await startServedCache({ registries: { [NAMED]: { endpoint: upstream.origin } } }));
    const registries = [{ name: NAMED, endpoint: new URL(upstream.origin) }];
    leaver = { door: await cache.openDoor(), folder: mkdtempSync(join(folder, 'leaver-')), registries };
    for (const [name, start] of Object.entries(CLIENTS)) {
      const door = await cache.openDoor();
      const own = join(folder, name);
      mkdirSync(own);
      places.push({ name, door, client: resources.use(await start({ folder: own, door, registries })) });
    }
  },
  { timeout: 300_000 },
);

after(() => resources.disposeAsync());

test('every client waits for 300 MB that come at 10 MB/s, and they are fetched once, although whoever began has left; then the registry is stopped', async (t) => {
  const image = buildImage({
    platform: 'linux/amd64',
    layers: [{ files: { 'usr/share/noise': noise(LAYER_BYTES, 'large') }, compression: 'none' }],
  });
  const [layer] = manifestOf(image, image.root.digest).layers;
  assert.ok(layer !== undefined);
  upstream.addImage('team/large', upstreamImage(image, 'v1'));
  upstream.fault(when({ kind: 'blob', reference: layer.digest }, { chunkDelayMs: CHUNK_DELAY_MS }));
  for (const { door } of places) door.guard(LOGIN);

  await beginAndLeave(layer.digest);
  const pulls = places.map(async ({ name, door, client }) => {
    const reference = nameAtCache(door, NAMED, 'team/large:v1');
    return { name, door, ms: await timed(() => client.pull(reference, { login: LOGIN })) };
  });
  for (const { name, door, ms } of await Promise.all(pulls)) {
    const hops: LoggedRequest[] = door
      .requestsFor(layer.digest)
      .filter(({ headers }) => headers.authorization !== undefined);
    const waits = hops.map(({ startedMs, endedMs = Infinity }) => Math.round(endedMs - startedMs));
    assert.deepEqual(
      hops.map(({ status }) => status),
      hops.map(() => 307),
      `${name}: ${cache.log()}`,
    );
    assert.ok(hops.length >= 2, `${name} was not sent back`);
    assert.ok(Math.max(...waits) < LONGEST_ANSWER_MS, `${name} waited ${waits.join(', ')} ms`);
    for (const { path } of hops.slice(1)) assert.match(path, /[?&]hop=/, name);
    t.diagnostic(`${name}: ${ms} ms; ${hops.length} requests to the cache that took ${waits.join(' and ')} ms`);
  }
  assert.ok(cache.s3.log.every(({ headers }) => headers.authorization === undefined));
  assertAskedOnce(upstream, closureOf(image));

  // Nothing is left to ask.
  await upstream.close();
  for (const { name, door, client } of places) {
    await client.forget();
    const reference = nameAtCache(door, NAMED, 'team/large:v1');
    const ms = await timed(() => client.pull(reference, { login: LOGIN }));
    t.diagnostic(`${name}: ${ms} ms with the registry stopped`);
  }
});
