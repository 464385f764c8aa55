import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { MediaTypes } from '../../../../infra/local/sample/image-builder.ts';
import { MAX_HOPS } from '../../../../lib/http/registry/registry-route.ts';
import { upstreamImage } from '../../../support/images.ts';
import { until } from '../../../support/until.ts';
import { install, type Command } from '../../install.ts';
import { closureOf } from '../../registry/closure.ts';
import { push } from '../../registry/push.ts';
import { busyboxImage } from '../../registry/real-images.ts';
import {
  assertAskedOnce,
  assertHolds,
  assertNoStrangers,
  assertRuns,
  startClientBench,
  untilAskedFor,
  type ClientBench,
} from './client-bench.ts';
import { AMD64, ARM64, lastLayerOf, twoPlatforms } from './images.ts';
import { nameAtCache, timed, type ClientPlace, type RegistryClient } from './registry-client.ts';
import { HUB, NAMED, PRIVATE } from './upstreams.ts';
import { headersOf, sendBack } from './waiting-room.ts';

export interface ClientSuite {
  /** Commands of the client. */
  readonly commands: readonly Command[];
  readonly start: (place: ClientPlace) => RegistryClient | Promise<RegistryClient>;
  /** `oci`: also with zstd, without compression, and with attestations. */
  readonly mediaTypes: MediaTypes;
  /** False: it has no login for a mirror. */
  readonly signsInToMirrors?: boolean;
}

const LOGIN = { user: 'ci', password: 'p+ss/word=' };
/** More than twice the time for which the cache leaves a registry alone that did not answer. */
const BACK_MS = 12_000;

/** A real client pulls through the cache, in each test from repositories of its own. */
export function clientSuite(name: string, { commands, start, mediaTypes, signsInToMirrors = true }: ClientSuite): void {
  describe(name, () => {
    let bench: ClientBench;

    before(
      async () => {
        await install(...commands, 'docker-registry', 'skopeo', 'busybox', 'openssl');
        bench = await startClientBench(start);
      },
      { timeout: 300_000 },
    );
    after(() => bench[Symbol.asyncDispose]());
    beforeEach(() => bench.reset());
    afterEach((t) => {
      if ('passed' in t && !t.passed) t.diagnostic(bench.cache.log());
      assertNoStrangers(bench);
    });

    test('cold by tag, with everything asked for once; then warm, without a request; it runs', async (t) => {
      const { client, upstreams, cache } = bench;
      const image = busyboxImage(mediaTypes);
      upstreams.named.addImage('team/busybox', upstreamImage(image, 'v1'));
      const reference = client.nameOf(NAMED, 'team/busybox:v1');
      const coldMs = await timed(() => client.pull(reference));
      await assertHolds(client, reference, image);
      await assertRuns(client, reference);
      const wanted = closureOf(image, AMD64);
      await untilAskedFor(upstreams.named, wanted);
      assertAskedOnce(upstreams.named, wanted);
      const requests = upstreams.named.count();

      await bench.reset();
      const warmMs = await timed(() => client.pull(reference));
      await assertHolds(client, reference, image);
      await assertRuns(client, reference);
      assert.equal(upstreams.named.count(), 0);
      assert.ok(cache.s3.log.length > 0, 'the client took the blobs from S3');
      t.diagnostic(`cold ${coldMs} ms with ${requests} upstream requests; warm ${warmMs} ms with none`);
    });

    test('cold by digest; then warm', async (t) => {
      const { client, upstreams } = bench;
      const image = twoPlatforms('by-digest', mediaTypes);
      upstreams.named.addImage('team/by-digest', upstreamImage(image, 'v1'));
      const reference = client.nameOf(NAMED, `team/by-digest@${image.root.digest}`);
      const coldMs = await timed(() => client.pull(reference));
      await assertHolds(client, reference, image);
      const wanted = closureOf(image, AMD64);
      await untilAskedFor(upstreams.named, wanted);
      assertAskedOnce(upstreams.named, wanted);
      const requests = upstreams.named.count();

      await bench.reset();
      const warmMs = await timed(() => client.pull(reference));
      await assertHolds(client, reference, image);
      assert.equal(upstreams.named.count(), 0);
      t.diagnostic(`cold ${coldMs} ms with ${requests} upstream requests; warm ${warmMs} ms with none`);
    });

    test('a second platform later brings only what is missing', async (t) => {
      const { client, upstreams } = bench;
      const image = twoPlatforms('platforms', mediaTypes);
      upstreams.named.addImage('team/platforms', upstreamImage(image, 'v1'));
      const reference = client.nameOf(NAMED, 'team/platforms:v1');
      await client.pull(reference, { platform: AMD64 });
      await assertHolds(client, reference, image, AMD64);
      const first = closureOf(image, AMD64);
      await untilAskedFor(upstreams.named, first);

      bench.forgetRequests();
      const secondMs = await timed(() => client.pull(reference, { platform: ARM64 }));
      await assertHolds(client, reference, image, ARM64);
      const more = closureOf(image, ARM64).difference(first);
      await untilAskedFor(upstreams.named, more);
      assertAskedOnce(upstreams.named, more);
      t.diagnostic(`the second platform ${secondMs} ms with ${upstreams.named.count()} upstream requests`);

      await bench.reset();
      for (const platform of [ARM64, AMD64]) await client.pull(reference, { platform });
      assert.equal(upstreams.named.count(), 0);
    });

    test('warm with the registry down; then it is back, and its tag has moved', async (t) => {
      const { client, upstreams, door } = bench;
      const [old, moved] = [twoPlatforms('old', mediaTypes), twoPlatforms('moved', mediaTypes)];
      upstreams.named.addImage('team/moving', upstreamImage(old, 'v1', 'moving-1'));
      const fixed = client.nameOf(NAMED, 'team/moving:v1');
      const moving = client.nameOf(NAMED, 'team/moving:moving-1');
      for (const reference of [moving, fixed]) await client.pull(reference);
      await untilAskedFor(upstreams.named, closureOf(old, AMD64));

      await bench.reset();
      upstreams.named.fault(() => ({ reset: true }));
      const downMs = await timed(() => client.pull(fixed));
      await assertHolds(client, fixed, old);
      assert.equal(upstreams.named.count(), 0, 'what is fresh is not asked for');
      const staleMs = await timed(() => client.pull(moving));
      await assertHolds(client, moving, old);
      t.diagnostic(`with the registry down ${downMs} ms while fresh, ${staleMs} ms when stale`);

      await bench.reset();
      upstreams.named.addImage('team/moving', upstreamImage(moved, 'v1', 'moving-1'));
      await until(async () => {
        const url = `${door.proxy.endpoint}/v2/${NAMED}/team/moving/manifests/moving-1`;
        return (await headersOf(url)).get('docker-content-digest') === moved.root.digest;
      }, BACK_MS);
      await client.pull(moving);
      await assertHolds(client, moving, moved);
      await client.pull(fixed);
      await assertHolds(client, fixed, old);
    });

    test('the same repository of two registries is two images', async () => {
      const { client, upstreams } = bench;
      const both = [
        { upstream: upstreams.named, image: twoPlatforms('of the named', mediaTypes), registry: NAMED },
        { upstream: upstreams.hub, image: twoPlatforms('of the hub', mediaTypes), registry: HUB },
      ].map((one) => ({ ...one, reference: client.nameOf(one.registry, 'library/twins:v1') }));
      for (const { upstream, image } of both) upstream.addImage('library/twins', upstreamImage(image, 'v1'));
      await Promise.all(both.map(({ reference }) => client.pull(reference)));
      for (const { upstream, image, reference } of both) {
        await assertHolds(client, reference, image);
        await untilAskedFor(upstream, closureOf(image, AMD64));
        assertAskedOnce(upstream, closureOf(image, AMD64));
      }

      await bench.reset();
      for (const { upstream, image, reference } of both) {
        await client.pull(reference);
        await assertHolds(client, reference, image);
        assert.equal(upstream.count(), 0);
      }
    });

    test('a private registry by the login of the cache: the client needs none', async (t) => {
      const { client, upstreams, door } = bench;
      const image = twoPlatforms('private', mediaTypes);
      await push(image, upstreams.private.host, 'team/private', 'v1', upstreams.login);
      bench.forgetRequests();
      const reference = client.nameOf(PRIVATE, 'team/private:v1');
      const coldMs = await timed(() => client.pull(reference));
      await assertHolds(client, reference, image);
      assert.ok(door.proxy.log.every(({ headers }) => headers.authorization === undefined));
      const { log } = upstreams.private.proxy;
      const taken = log.filter(({ method, status }) => method === 'GET' && status === 200).map(({ path }) => path);
      assert.equal(taken.length, new Set(taken).size, taken.join('\n'));
      assert.deepEqual(
        upstreams.tokens.requests.map(({ account, scopes }) => ({ account, scopes })),
        [{ account: upstreams.login.user, scopes: ['repository:team/private:pull'] }],
      );
      const requests = log.length;

      await bench.reset();
      const warmMs = await timed(() => client.pull(reference));
      await assertHolds(client, reference, image);
      assert.equal(log.length + upstreams.tokens.requests.length, 0);
      t.diagnostic(
        `cold ${coldMs} ms with ${requests} upstream requests and 1 for a token; warm ${warmMs} ms with none`,
      );
    });

    describe('in the waiting room', () => {
      const name = `follows ${MAX_HOPS} hops to the cache and one to S3, and shows its login to the cache alone`;

      /** The layer is answered only at the last hop, and the cache wants a login. */
      async function assertFollows(repository: string, pull: (rest: string) => Promise<void>): Promise<void> {
        const { upstreams, cache, door } = bench;
        const image = twoPlatforms(repository, mediaTypes);
        const layer = lastLayerOf(image, AMD64);
        upstreams.named.addImage(repository, upstreamImage(image, 'v1'));
        sendBack(door, layer, MAX_HOPS);
        door.guard(LOGIN);
        await pull(`${repository}:v1`);
        const shown = door.requestsFor(layer).map(({ headers }) => headers.authorization);
        const { length } = shown.filter((authorization) => authorization !== undefined);
        assert.equal(length, 1 + MAX_HOPS, 'a hop came without the login');
        assert.equal(new Set(shown.slice(-length)).size, 1);
        assert.ok(cache.s3.log.some(({ path }) => path.includes(layer.replace('sha256:', ''))));
        assert.ok(cache.s3.log.every(({ headers }) => headers.authorization === undefined));
      }

      test(`${name}: by the name at the cache`, async () => {
        const { client, door } = bench;
        await assertFollows('team/hops', (rest) => client.pull(nameAtCache(door, NAMED, rest), { login: LOGIN }));
      });

      if (signsInToMirrors) {
        test(`${name}: as a mirror`, async () => {
          const { client } = bench;
          assert.ok(client.signInToMirror !== undefined);
          client.signInToMirror(LOGIN);
          try {
            await assertFollows('team/mirrored-hops', (rest) => client.pull(client.nameOf(NAMED, rest)));
          } finally {
            client.signInToMirror(undefined);
          }
        });
      }

      test('gives up later than the cache does', async (t) => {
        const { client, upstreams, door } = bench;
        const image = twoPlatforms('for ever', mediaTypes);
        const layer = lastLayerOf(image, AMD64);
        upstreams.named.addImage('team/for-ever', upstreamImage(image, 'v1'));
        // Enough for one attempt, and not for two.
        sendBack(door, layer, 15);
        door.guard(LOGIN);
        const reference = nameAtCache(door, NAMED, 'team/for-ever:v1');
        const isPulled = await client.pull(reference, { login: LOGIN }).then(
          () => true,
          () => false,
        );
        const hops = door
          .requestsFor(layer)
          .map(({ path }) => Number(new URL(path, 'http://x').searchParams.get('sent')));
        const most = Math.max(...hops) + 1;
        // The first request, our hops, and S3.
        assert.ok(most >= 1 + MAX_HOPS + 1, `${most} requests`);
        t.diagnostic(`${most} requests for one blob, then ${isPulled ? 'it begins again' : 'it fails'}`);
      });
    });
  });
}
