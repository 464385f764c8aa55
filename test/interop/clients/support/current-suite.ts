import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MAX_HOPS } from '../../../../lib/http/registry/registry-route.ts';
import { upstreamImage, type Image } from '../../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../../support/upstream/upstream.ts';
import { closureOf } from '../../registry/closure.ts';
import { untilAskedFor } from './client-bench.ts';
import type { CurrentClient } from './current.ts';
import { AMD64 } from './images.ts';
import { nameAtCache, timed, type Login, type RegistryClient } from './registry-client.ts';
import { startServedCache, type Door } from './served-cache.ts';
import { sendBack } from './waiting-room.ts';

const REGISTRY = 'registry.example.test';
const LOGIN: Login = { user: 'ci', password: 'p+ss/word=, "quoted"' };

/** What the client holds is of this image. */
export async function assertHoldsPart(client: RegistryClient, reference: string, image: Image): Promise<void> {
  const held = await client.digests(reference);
  assert.ok(held.length > 0, `${reference} is not there`);
  const own: readonly string[] = [...image.manifests.keys(), ...image.blobs.keys()];
  for (const digest of held) assert.ok(own.includes(digest), `${digest} is none of ${own.join(', ')}`);
}

/** Current clients pull from `entrepot serve`: from one that asks nobody, and from one with users. */
export function currentClients(clients: Readonly<Record<string, CurrentClient>>, timeout: number): void {
  describe('current clients pull from entrepot serve', { timeout }, () => {
    const resources = new AsyncDisposableStack();
    let folder: string;
    let upstream: TestUpstream;
    let doors: { readonly open: Door; readonly withUsers: Door };

    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'entrepot-current-'));
      resources.defer(() => rmSync(folder, { recursive: true, force: true }));
      upstream = resources.use(await startUpstream());
      const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } };
      const open = resources.use(await startServedCache({ registries }));
      const withUsers = resources.use(await startServedCache({ registries, users: [LOGIN] }));
      doors = { open: await open.openDoor(), withUsers: await withUsers.openDoor() };
    });
    after(() => resources[Symbol.asyncDispose]());

    for (const [name, { start, imageOf }] of Object.entries(clients)) {
      const repositoryOf = (what: string): string => `team/${name.replace(/[^a-z0-9]+/g, '-')}-${what}`;
      const startAt = (door: Door): Promise<RegistryClient> => {
        const own = mkdtempSync(join(folder, 'client-'));
        return start({ folder: own, door, registries: [{ name: REGISTRY, endpoint: new URL(upstream.origin) }] });
      };

      test(`${name}: cold by tag, with each thing asked for once; then warm by tag and digest`, async (t) => {
        const image = imageOf(name);
        const repository = repositoryOf('open');
        upstream.addImage(repository, upstreamImage(image, '1.0.0'));
        await using client = await startAt(doors.open);
        const reference = nameAtCache(doors.open, REGISTRY, `${repository}:1.0.0`);
        const coldMs = await timed(() => client.pull(reference));
        await assertHoldsPart(client, reference, image);
        await untilAskedFor(upstream, closureOf(image, AMD64));
        const gets = upstream.requests.filter((one) => one.method === 'GET' && one.repository === repository);
        const paths = gets.map(({ path }) => path);
        assert.equal(new Set(paths).size, paths.length, `something was asked for twice: ${paths.join(', ')}`);

        const asked = upstream.count({ repository });
        await client.forget();
        const warmMs = await timed(() => client.pull(reference));
        await assertHoldsPart(client, reference, image);
        if (client.pullsDigests !== false) {
          const byDigest = nameAtCache(doors.open, REGISTRY, `${repository}@${image.root.digest}`);
          await client.pull(byDigest);
          await assertHoldsPart(client, byDigest, image);
        }
        assert.equal(upstream.count({ repository }), asked);
        t.diagnostic(`cold ${coldMs} ms with ${asked} upstream requests; warm ${warmMs} ms with none`);
      });

      test(`${name}: with a login, over ${MAX_HOPS} hops of the waiting room; not without, nor with a wrong one`, async () => {
        const image = imageOf(`${name} with a login`);
        const repository = repositoryOf('login');
        upstream.addImage(repository, upstreamImage(image, '1.0.0'));
        const door = doors.withUsers;
        await using client = await startAt(door);
        const reference = nameAtCache(door, REGISTRY, `${repository}:1.0.0`);
        await assert.rejects(client.pull(reference));
        await assert.rejects(client.pull(reference, { login: { ...LOGIN, password: 'wrong' } }));
        assert.equal(upstream.count({ repository }), 0);

        for (const digest of image.blobs.keys()) sendBack(door, digest, MAX_HOPS);
        await client.pull(reference, { login: LOGIN });
        await assertHoldsPart(client, reference, image);
        await untilAskedFor(upstream, closureOf(image, AMD64));
        const asked = upstream.count({ repository });
        door.proxy.rules.length = 0;
        await client.forget();
        await client.pull(reference, { login: LOGIN });
        await assertHoldsPart(client, reference, image);
        assert.equal(upstream.count({ repository }), asked);
      });
    }
  });
}
