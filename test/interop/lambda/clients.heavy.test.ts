import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openEndpoint } from '../../../infra/local/app/endpoint.ts';
import { parseLocalCaller } from '../../../infra/local/app/gateway.ts';
import { TOKEN_USER } from '../../../lib/access/users.ts';
import { apiEvent } from '../../support/api-event.ts';
import { startBench, type Bench } from '../../support/cache.ts';
import { startFaultProxy } from '../../support/http-fault-proxy.ts';
import { upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startCtr } from '../clients/support/containerd.ts';
import { untilAskedFor } from '../clients/support/client-bench.ts';
import { assertHoldsPart } from '../clients/support/current-suite.ts';
import { HEAVY, LIGHT } from '../clients/support/current.ts';
import { startDocker } from '../clients/support/dockerd.ts';
import { AMD64, twoPlatforms } from '../clients/support/images.ts';
import { startPodman } from '../clients/support/podman.ts';
import { nameAtCache, type ClientPlace, type Login, type RegistryClient } from '../clients/support/registry-client.ts';
import { doorOf, type Door } from '../clients/support/served-cache.ts';
import { startSkopeo } from '../clients/support/skopeo.ts';
import { closureOf } from '../registry/closure.ts';
import { install } from '../install.ts';
import { startPackaged } from './packaged.ts';

const REGISTRY = 'registry.example.test';
interface PackagedClient {
  readonly start: (place: ClientPlace) => RegistryClient | Promise<RegistryClient>;
  readonly imageOf: (name: string) => Image;
}

const oci = (name: string): Image => twoPlatforms(name, 'oci');
/** Debian's, and current ones. */
const CLIENTS: Readonly<Record<string, PackagedClient>> = {
  skopeo: { start: startSkopeo, imageOf: oci },
  podman: { start: startPodman, imageOf: oci },
  containerd: { start: startCtr, imageOf: oci },
  docker: { start: startDocker, imageOf: (name) => twoPlatforms(name, 'docker') },
  ...LIGHT,
  ...HEAVY,
};

describe(
  'clients pull from the packaged functions, with a password that was minted for them',
  { timeout: 1_100_000 },
  () => {
    let bench: Bench;
    let upstream: TestUpstream;
    let door: Door;
    let login: Login;

    before(async () => {
      await install('skopeo', 'podman', 'containerd', 'ctr', 'runc');
      bench = await startBench();
      upstream = await bench.use(startUpstream());
      const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none', allow: ['team/**'] } };
      const { functions, routes } = await bench.use(
        startPackaged({ stack: bench.stack, configuration: { registries, limits: { leaseSeconds: 10 } } }),
      );
      const caller = parseLocalCaller('arn:aws:iam::000000000000:user/nobody');
      const gateway = await bench.use(openEndpoint({ port: 0, routes, functions, caller, control: () => undefined }));
      door = doorOf(await bench.use(startFaultProxy(gateway.origin)));
      const minted = (await functions.invoke('api', apiEvent('POST', '/v1/token'))) as { readonly body: string };
      login = { user: TOKEN_USER, password: (JSON.parse(minted.body) as { password: string }).password };
    });
    after(() => bench[Symbol.asyncDispose]());

    for (const [name, { start, imageOf }] of Object.entries(CLIENTS)) {
      test(`${name}: cold, and again without a request of the registry; without the password not at all`, async () => {
        await using resources = new AsyncDisposableStack();
        const folder = await mkdtemp(join(tmpdir(), 'entrepot-client-'));
        resources.defer(() => rm(folder, { recursive: true, force: true }));
        await mkdir(folder, { recursive: true });
        const registries = [{ name: REGISTRY, endpoint: new URL(upstream.origin) }];
        const client = resources.use(await start({ folder, door, registries }));
        const image = imageOf(name);
        const repository = `team/${name.replace(/[^a-z0-9]+/g, '-')}`;
        upstream.addImage(repository, upstreamImage(image, '1.0.0'));
        const reference = nameAtCache(door, REGISTRY, `${repository}:1.0.0`);
        await assert.rejects(client.pull(reference));
        assert.equal(upstream.count({ repository }), 0);

        await client.pull(reference, { login });
        await assertHoldsPart(client, reference, image);
        await untilAskedFor(upstream, closureOf(image, AMD64));
        const asked = upstream.count({ repository });
        await client.forget();
        await client.pull(reference, { login });
        await assertHoldsPart(client, reference, image);
        assert.equal(upstream.count({ repository }), asked);
      });
    }
  },
);
