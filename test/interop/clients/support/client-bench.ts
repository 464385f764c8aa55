import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Digest } from '../../../../lib/oci/digest.ts';
import type { Image } from '../../../support/images.ts';
import { until } from '../../../support/until.ts';
import type { TestUpstream } from '../../../support/upstream/upstream.ts';
import { manifestOf } from '../../registry/closure.ts';
import { AMD64, childOf } from './images.ts';
import type { ClientPlace, RegistryClient } from './registry-client.ts';
import { startServedCache, type Door, type ServedCache } from './served-cache.ts';
import { getsOf, startUpstreams, type Upstreams } from './upstreams.ts';

/** A client, the cache it asks, and the registries behind it. */
export interface ClientBench extends AsyncDisposable {
  readonly upstreams: Upstreams;
  readonly cache: ServedCache;
  readonly door: Door;
  readonly client: RegistryClient;
  /** All logs are empty, the client has nothing, and nothing misbehaves. */
  reset(): Promise<void>;
  /** The logs alone. */
  forgetRequests(): void;
}

export async function startClientBench(
  start: (place: ClientPlace) => RegistryClient | Promise<RegistryClient>,
): Promise<ClientBench> {
  await using starting = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-client-'));
  starting.defer(() => rmSync(folder, { recursive: true, force: true }));
  const upstreams = starting.use(await startUpstreams(join(folder, 'upstreams')));
  const cache = starting.use(await startServedCache(upstreams.configuration));
  const door = await cache.openDoor();
  const client = starting.use(await start({ folder, door, registries: upstreams.served }));
  const forgetRequests = (): void => {
    for (const upstream of [upstreams.named, upstreams.hub]) upstream.requests.length = 0;
    upstreams.tokens.requests.length = 0;
    for (const proxy of [upstreams.private.proxy, door.proxy, cache.s3]) proxy.log.length = 0;
  };
  const resources = starting.move();
  return {
    upstreams,
    cache,
    door,
    client,
    forgetRequests,
    async reset() {
      await client.forget();
      upstreams.named.clearFaults();
      door.proxy.rules.length = 0;
      forgetRequests();
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The client holds the image, as the platform, and under this reference. */
export async function assertHolds(
  client: RegistryClient,
  reference: string,
  image: Image,
  platform = AMD64,
): Promise<void> {
  const held = await client.digests(reference);
  const child = childOf(image, platform);
  const expected: (string | undefined)[] = [image.root.digest, child, manifestOf(image, child).config?.digest];
  assert.ok(held.length > 0, `${reference} is not there`);
  for (const digest of held) assert.ok(expected.includes(digest), `${digest} is none of ${expected.join(', ')}`);
}

/** What the client pulled really runs, where it runs anything. */
export async function assertRuns({ run }: RegistryClient, reference: string): Promise<void> {
  if (run !== undefined) assert.equal((await run(reference)).trim(), '42');
}

const pathOf = (path: string): string => path.replace(/^.*\/(?:manifests|blobs)\//, '');

/** Waits until the registry was asked for all of it: a client has its image before the attestations have landed, which come last. */
export const untilAskedFor = (upstream: TestUpstream, digests: ReadonlySet<Digest>): Promise<void> =>
  until(() => {
    const asked = new Set([...getsOf(upstream).keys()].map(pathOf));
    return digests.isSubsetOf(asked);
  });

/** Everything was asked for once, and nothing else was. */
export function assertAskedOnce(upstream: TestUpstream, digests: ReadonlySet<Digest>): void {
  const gets = getsOf(upstream);
  for (const [path, count] of gets) assert.equal(count, 1, `${path} was asked for ${count} times`);
  assert.deepEqual([...gets.keys()].map(pathOf).sort(), [...digests].sort());
}

/** No client went around the cache. */
export function assertNoStrangers({ upstreams }: ClientBench): void {
  for (const log of [upstreams.named.requests, upstreams.hub.requests, upstreams.private.proxy.log]) {
    const strangers = log.filter(({ headers }) => headers['user-agent']?.startsWith('entrepot') !== true);
    assert.deepEqual(strangers, []);
  }
}
