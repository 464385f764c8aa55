/*
 * More blobs are asked for than may be waited for: who finds the waiting room full comes back, and every pull ends well.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildImage, noise, upstreamImage } from '../../support/images.ts';
import { startUpstream, when } from '../../support/upstream/upstream.ts';
import { install } from '../install.ts';
import { closureOf } from '../registry/closure.ts';
import { assertAskedOnce } from './support/client-bench.ts';
import { command, nameAtCache, timed } from './support/registry-client.ts';
import { startServedCache } from './support/served-cache.ts';
import { NAMED } from './support/upstreams.ts';

const CLIENTS = 4;
const SEATS = 12;
const LAYERS = 40;
const LAYER_BYTES = 750_000;
/** The cache fetches three blobs of a repository at a time: with 64 KiB a chunk, 3 MB/s in all. */
const CHUNK_DELAY_MS = 60;

test(
  'four skopeo pull 40 cold layers at 3 MB/s through a waiting room of 12 seats',
  { timeout: 300_000 },
  async (t) => {
    await using resources = new AsyncDisposableStack();
    await install('skopeo');
    const folder = mkdtempSync(join(tmpdir(), 'entrepot-waiting-'));
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    const upstream = resources.use(await startUpstream());
    const registries = { [NAMED]: { endpoint: upstream.origin } };
    const cache = resources.use(await startServedCache({ registries, waiting: SEATS }));
    const image = buildImage({
      platform: 'linux/amd64',
      layers: Array.from({ length: LAYERS }, (_, i) => ({
        files: { [`usr/share/noise-${i}`]: noise(LAYER_BYTES, `waiting ${i}`) },
        compression: 'none' as const,
      })),
    });
    upstream.addImage('team/many', upstreamImage(image, 'v1'));
    upstream.fault(when({ kind: 'blob' }, { chunkDelayMs: CHUNK_DELAY_MS }));

    const pulls = Array.from({ length: CLIENTS }, async (_, i) => {
      const door = await cache.openDoor();
      // Into a layout: into a plain folder it copies one blob after the other.
      const copying = ['--src-tls-verify=false', `docker://${nameAtCache(door, NAMED, 'team/many:v1')}`];
      const ms = await timed(() =>
        command('skopeo', ['--insecure-policy', 'copy', '--quiet', ...copying, `oci:${join(folder, String(i))}:v1`]),
      );
      const refused = door.proxy.log.filter(({ status }) => status === 429).length;
      t.diagnostic(`client ${i}: ${ms} ms, turned away ${refused} times`);
      assert.ok(
        door.proxy.log.every(({ status = 0 }) => status < 500),
        cache.log(),
      );
      return refused;
    });
    const refused = await Promise.all(pulls);
    assert.ok(
      refused.some((times) => times > 0),
      'the room was never full: nothing was tried',
    );
    assertAskedOnce(upstream, closureOf(image));
  },
);
