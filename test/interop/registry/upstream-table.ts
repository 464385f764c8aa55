import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { entrepot, LAUNCHER } from '../../support/entrepot.ts';
import type { LoggedRequest } from '../../support/http-fault-proxy.ts';
import { startServer } from '../server-process.ts';
import { openInteropCache, type InteropCache } from './cache.ts';
import { makeReferrer, PushRefused, pushPlain, type PushTarget } from './plain-push.ts';
import { SBOM_TYPE, upstreamCases, type UpstreamCase } from './upstream-images.ts';
import { NAME, type StartUpstream, type Upstream } from './upstream-registries.ts';

const TAG = 'v1';
/** Programs are built once, on a machine that does other work, too. */
const START_TIMEOUT_MS = 600_000;

/** The words with which an upstream refuses a push, by image. */
export type Refusals = Readonly<Record<string, RegExp>>;

/**
 * One line of the table: a test for each image. Each is pushed byte for byte, pulled by its tag with all its platforms by the real command line, looked at in S3, and
 * pulled again. All are pulled by one process: starting it is most of what a small pull takes.
 */
export function tableOf(name: string, start: StartUpstream, refused: Refusals | 'any' = {}): void {
  describe(`upstream: ${name}`, () => {
    const cases = upstreamCases();
    const refusals = new Map<string, string>();
    let folder: string;
    let upstream: Upstream;
    let cache: InteropCache;
    let first: ReadonlyMap<string, Receipt>;
    let second: ReadonlyMap<string, Receipt>;
    /** What the upstream was asked by the first pulls. */
    let log: readonly LoggedRequest[];
    let referrersBy: string | undefined;
    let inStorage: ReadonlySet<Digest>;
    const taken = (): readonly UpstreamCase[] => cases.filter((one) => !refusals.has(one.name));

    before(
      async () => {
        folder = mkdtempSync(join(tmpdir(), 'entrepot-upstream-'));
        upstream = await start(folder);
        for (const one of cases) {
          try {
            referrersBy = (await pushCase(one, upstream)) ?? referrersBy;
          } catch (error) {
            if (!(error instanceof PushRefused)) throw error;
            refusals.set(one.name, error.message);
          }
        }
        cache = await openInteropCache({ registries: { [NAME]: upstream.registry } });
        cache.dockerConfig(upstream.docker ?? {});
        first = await pullAll(cache, upstream, taken());
        log = [...upstream.proxy.log];
        inStorage = new Set(await cache.digests());
        second = await pullAll(cache, upstream, taken());
      },
      { timeout: START_TIMEOUT_MS },
    );

    after(async () => {
      await cache.close();
      await upstream[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    for (const one of cases) {
      test(one.name, async (t) => {
        const refusal = refusals.get(one.name);
        if (refused !== 'any') {
          const expected = refused[one.name];
          if (expected === undefined) assert.equal(refusal, undefined);
          else assert.match(refusal ?? 'taken', expected);
        }
        if (refusal !== undefined) {
          t.diagnostic(`${name} × ${one.name}: refused by the upstream: ${refusal}`);
          return;
        }

        const receipt = first.get(one.name);
        assert.ok(receipt !== undefined);
        assert.equal(receipt.outcome, 'pulled', JSON.stringify(receipt));
        assert.equal(receipt.digest, one.image.root.digest);
        assert.ok(receipt.blobs.total > 0);
        assert.ok(
          receipt.platforms.every(({ complete }) => complete),
          JSON.stringify(receipt),
        );
        assert.deepEqual(
          receipt.skipped.map(({ digest }) => digest),
          one.skipped ?? [],
        );

        const base = `/v2/${upstream.prefix}${repositoryOf(one, upstream)}/`;
        // A challenge to a first request without a token is no answer to what it asked.
        const asked = log.filter(({ path, status }) => path.startsWith(base) && status !== 401);
        const requests = asked.map(({ method, path, status }) => `${method} ${path} ${status}`);
        const heads = asked.filter(({ method, path }) => method === 'HEAD' && path.includes(`/manifests/${TAG}`));
        assert.equal(heads.length, 1, requests.join('\n'));
        const distinct = new Set(asked.map(({ method, path }) => `${method} ${path}`));
        assert.equal(distinct.size, asked.length, requests.join('\n'));

        const again = second.get(one.name);
        assert.ok(again !== undefined);
        assert.equal(again.outcome, 'hit');
        assert.equal(again.registryRequests.total, 0);

        const options = ['--deep', '--json', ...platformOption(one.platform)];
        const validated = await entrepot(['validate', referenceOf(one, upstream), ...options], cache.environment);
        assert.equal(validated.code, 0, validated.stdout);

        const { total, ...kinds } = receipt.registryRequests;
        const counts = Object.entries(kinds).filter(([, count]) => count > 0);
        t.diagnostic(
          `${name} × ${one.name}: ${total} requests (${counts.map(([kind, count]) => `${kind} ${count}`).join(', ')})`,
        );
      });
    }

    test('S3 has what the images are made of, and nothing else', () => {
      const closure = new Set(taken().flatMap(({ image }) => [...image.manifests.keys(), ...image.blobs.keys()]));
      assert.deepEqual([...inStorage].sort(), [...closure].sort());
    });

    test('the upstream was asked what the receipts count, and nothing by the second pulls', () => {
      const counted = [...first.values()].reduce((sum, { registryRequests: { total, redirected } }) => {
        return sum + total - redirected;
      }, 0);
      const elsewhere = upstream.lastResort?.log ?? [];
      assert.equal(log.length + elsewhere.length, counted);
      assert.equal(upstream.proxy.log.length, log.length);
      // What a repository holds only the registry itself confirms, and that something is nowhere.
      const lacking = taken().flatMap((one) =>
        (one.skipped ?? []).map((digest) => `GET /v2/${repositoryOf(one, upstream)}/blobs/${digest}`),
      );
      const others = elsewhere.filter(({ method, path }) => method !== 'HEAD' || !path.includes('/blobs/'));
      assert.deepEqual(
        others.map(({ method, path }) => `${method} ${path}`),
        upstream.lastResort === undefined ? [] : lacking,
      );
    });

    test('what refers to an image is listed, by the API or by the tag', async (t) => {
      const one = cases.find(({ subject }) => subject !== undefined) ?? assert.fail();
      const { subject = assert.fail(), image } = one;
      await using server = await startServer((port) => [process.execPath, LAUNCHER, 'serve', '--port', String(port)], {
        environment: cache.environment,
      });
      const path = `v2/${NAME}/${upstream.prefix}${repositoryOf(one, upstream)}/referrers/${subject.root.digest}`;
      const answer = await fetch(`http://127.0.0.1:${server.port}/${path}`);
      assert.equal(answer.status, 200);
      const { manifests } = (await answer.json()) as { manifests: readonly { digest: string; artifactType: string }[] };
      assert.deepEqual(
        manifests.map(({ digest, artifactType }) => ({ digest, artifactType })),
        [{ digest: image.root.digest, artifactType: SBOM_TYPE }],
      );
      t.diagnostic(`${name}: what refers to an image is found by the ${referrersBy}`);
    });
  });
}

/** How what it refers to finds it, where it refers to something. */
async function pushCase(one: UpstreamCase, upstream: Upstream): Promise<string | undefined> {
  const { image, subject } = one;
  const { origin, authorization } = upstream;
  const target: PushTarget = {
    origin,
    repository: repositoryOf(one, upstream),
    ...(authorization === undefined ? {} : { authorization }),
  };
  if (subject !== undefined) await pushPlain(subject, target, 'subject');
  await pushPlain(image, target, TAG);
  return subject === undefined ? undefined : await makeReferrer(image, SBOM_TYPE, subject, target);
}

const repositoryOf = ({ name }: UpstreamCase, { owner = '' }: Upstream): string => `${owner}${name}`;

const referenceOf = (one: UpstreamCase, upstream: Upstream): string =>
  `${NAME}/${upstream.prefix}${repositoryOf(one, upstream)}:${TAG}`;

/** The receipts by the names of the images. One process for all that ask for the same. */
async function pullAll(
  cache: InteropCache,
  upstream: Upstream,
  cases: readonly UpstreamCase[],
): Promise<ReadonlyMap<string, Receipt>> {
  const receipts = new Map<string, Receipt>();
  for (const [platform, some] of Map.groupBy(cases, (one) => one.platform)) {
    const references = some.map((one) => referenceOf(one, upstream));
    const { documents, exitCode, stderr } = await cache.entrepot(['pull', ...references, ...platformOption(platform)]);
    assert.equal(documents.length, some.length, `exit ${exitCode}\n${stderr}`);
    for (const [i, { name }] of some.entries()) receipts.set(name, documents[i] as Receipt);
  }
  return receipts;
}

const platformOption = (platform: string | undefined): string[] =>
  platform === undefined ? [] : ['--platform', platform];
