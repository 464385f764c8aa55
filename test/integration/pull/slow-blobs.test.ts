import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { PullDeps, PullRequest } from '../../../lib/pull/pull-request.ts';
import { pull } from '../../../lib/pull/pull.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { SlowBlobError } from '../../../lib/errors/cache-error.ts';
import type { BlobReading } from '../../../lib/registry/settings.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import { noiseImage, type Image } from '../../support/images.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

/** A blob that is too slow gives back its place and its claim, and is gone on with once others had their turn. */
let bench: PullBench;
before(async () => {
  bench = await startPullBench({ limits: { parallelBlobs: 1 } });
});
after(() => bench[Symbol.asyncDispose]());

const forever = new AbortController().signal;
const requestOf = (reference: string): PullRequest => ({
  reference: parseReference(reference),
  platforms: [],
  alwaysPull: false,
  attestations: true,
});
const layersOf = ({ blobs }: Image): string[] => [...blobs.keys()].slice(1);

/** The registry gives `slow` too slowly, `times` times; `readings` keeps how it was asked for. */
function slowly(slow: string, times: number, readings: BlobReading[], brought = 0): PullDeps {
  const { pull: deps } = bench.cache.services;
  const open: PullDeps['upstreams']['open'] = async (...args) => {
    const upstream = await deps.upstreams.open(...args);
    const openBlob: Upstream['openBlob'] = async (blob, offset, signal, reading = {}) => {
      if (blob.digest !== slow) return await upstream.openBlob(blob, offset, signal, reading);
      readings.push(reading);
      if (readings.length > times) return await upstream.openBlob(blob, offset, signal, reading);
      throw new SlowBlobError('read blob', `blob ${slow} comes too slowly`, brought, undefined);
    };
    return new Proxy(upstream, {
      get(target, name) {
        if (name === 'openBlob') return openBlob;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  };
  return { ...deps, upstreams: { ...deps.upstreams, open } };
}

test('the others come first, and it has twice the time at its next try', async () => {
  const image = noiseImage({ name: 'slow once', layerBytes: [1_000, 2_000, 3_000] });
  const [slow, ...others] = layersOf(image);
  const readings: BlobReading[] = [];
  const finished: string[] = [];
  const progress = { finished: ({ digest }: { digest: string }) => void finished.push(digest) };
  const deps = { ...slowly(slow!, 1, readings), progress };
  const receipt = await pull(deps, requestOf(bench.offer(image, 'slow/once')), forever);
  assert.equal(receipt.blobs.copied, 4);
  assert.equal(finished.at(-1), slow, 'it gave its place to the others');
  assert.ok(others.every((digest) => finished.includes(digest)));
  const [first, second] = readings.map(({ pace }) => pace!.windowMs);
  assert.equal(second, 2 * first!);
  await bench.assertClean();
});

test('whoever else wants it gets its claim, and the slow one finds it there', async () => {
  const image = noiseImage({ name: 'slow here', layerBytes: [4_000] });
  const [slow] = layersOf(image);
  const [here, there] = ['slow/here', 'slow/there'].map((repository) => bench.offer(image, repository));
  const readings: BlobReading[] = [];
  const pulling = pull(slowly(slow!, Infinity, readings), requestOf(here!), forever);
  const elsewhere = await bench.cache.pull(there!);
  assert.equal(elsewhere.outcome, 'pulled');
  const receipt = await pulling;
  assert.equal(receipt.outcome, 'pulled');
  assert.ok(readings.length <= 2, `${readings.length} tries`);
});

test('what brings enough with each try is never given up; what brings little is after five in a row, and the error says so', async () => {
  const [keeping, giving] = ['keeping', 'giving'].map((name) => noiseImage({ name, layerBytes: [5_000] }));
  const enough: BlobReading[] = [];
  const little: BlobReading[] = [];
  const [pulled, failed] = await Promise.allSettled([
    pull(
      slowly(layersOf(keeping!)[0]!, 6, enough, 9 * 1024 * 1024),
      requestOf(bench.offer(keeping!, 'slow/keeping')),
      forever,
    ),
    pull(slowly(layersOf(giving!)[0]!, Infinity, little), requestOf(bench.offer(giving!, 'slow/giving')), forever),
  ]);
  assert.equal(pulled.status, 'fulfilled');
  assert.equal(new Set(enough.map(({ pace }) => pace!.windowMs)).size, 1);
  assert.equal(failed.status === 'rejected' && (failed.reason as Error).message.includes('too slowly'), true);
  assert.equal(little.length, 5);
  await bench.assertClean();
});
