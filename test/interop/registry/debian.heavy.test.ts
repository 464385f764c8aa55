import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { install } from '../install.ts';
import { assertHolds, openInteropCache } from './cache.ts';
import { closureOf, manifestOf } from './closure.ts';
import { startDockerRegistry } from './docker-registry.ts';
import { push } from './push.ts';
import { debianImage, runInRoot } from './real-images.ts';

const NAME = 'registry.example.test';

test('Debian itself, 200 MB: pulled, compared, and run', { timeout: 700_000 }, async () => {
  await install('docker-registry', 'skopeo', 'debootstrap');
  await using resources = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-debian-'));
  resources.defer(() => rmSync(folder, { recursive: true }));
  const registry = await startDockerRegistry(folder);
  resources.defer(() => registry.close());
  const image = await debianImage();
  await push(image, registry.host, 'debian', 'bookworm');
  const cache = resources.use(
    await openInteropCache({ registries: { [NAME]: { endpoint: registry.proxy.endpoint } } }),
  );
  const receipt = await cache.pull(`${NAME}/debian:bookworm`, 'linux/amd64');
  assert.equal(receipt.blobs.copied, 2);
  await assertHolds(cache, registry, closureOf(image));
  const [descriptor] = manifestOf(image, image.root.digest).layers;
  const layers = [{ descriptor: descriptor!, bytes: await cache.read(descriptor!.digest) }];
  assert.match(
    runInRoot(layers, ['/bin/bash', '-c', 'cat /etc/debian_version; dpkg-query -W dpkg']),
    /^12\.\d+\ndpkg\t1\./,
  );
});
