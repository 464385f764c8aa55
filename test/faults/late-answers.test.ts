import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Pointer } from '../../lib/catalog/catalog.ts';
import { pullLeaseName } from '../../lib/table/keys.ts';
import { acquire } from '../../lib/lock/lease.ts';
import { pull } from '../../lib/pull/pull.ts';
import type { PullDeps, PullRequest } from '../../lib/pull/pull-request.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import type { Upstream } from '../../lib/registry/upstream.ts';
import type { ServeCall } from '../../lib/serve/serving.ts';
import { upstreamFetcher } from '../../lib/serve/upstream-fetcher.ts';
import { copyTask } from '../../lib/jobs/copy-task.ts';
import { planTask } from '../../lib/jobs/plan-task.ts';
import { publishTask } from '../../lib/jobs/publish-task.ts';
import { TaskError } from '../../lib/jobs/task-error.ts';
import type { JobDeps } from '../../lib/jobs/jobs.ts';
import { noiseImage, upstreamImage, type Image } from '../support/images.ts';
import { until } from '../support/until.ts';
import { startFaultBench, type FaultBench, type FaultyCache } from './fault-bench.ts';

/*
 * Two tries to learn what a tag means, the older of which goes on when the newer has its answer: whatever the clocks say, the older answer stands nowhere.
 */

const forever = new AbortController().signal;

let faults: FaultBench;
let faulty: FaultyCache;
before(async () => {
  faults = await startFaultBench();
  faulty = await faults.bench.use(faults.open());
});
after(() => faults[Symbol.asyncDispose]());

/** Waits for `open` at each call after the first `skip`; `arrived` says that one is waiting. */
function gate() {
  const [arrived, opened] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
  return {
    arrived: arrived.promise,
    open: () => opened.resolve(undefined),
    pass: async () => {
      arrived.resolve(undefined);
      await opened.promise;
    },
  };
}

const requestOf = (reference: string, alwaysPull = true): PullRequest => ({
  reference: parseReference(reference),
  platforms: [],
  alwaysPull,
  attestations: true,
});

async function pointerOf(reference: string): Promise<Pointer> {
  const { catalog } = faulty.cache.services;
  const pointer = await catalog.findPointer(parseReference(reference), { consistent: true, signal: forever });
  return pointer ?? { generation: 0 };
}

/** An older and a newer image of one tag; the older is offered. */
function offered(repository: string) {
  const [older, newer] = ['older', 'newer'].map((name) => noiseImage({ name: `${repository}-${name}` })) as [
    Image,
    Image,
  ];
  faults.upstream.addImage(repository, upstreamImage(older, 'v1', 'other'));
  return { older, newer, move: () => faults.offer(newer, repository) };
}

const workflow = (): JobDeps => {
  const { pull: pullDeps, records, workflowLeases: leases, plans } = faulty.cache.services;
  const announcer = { announce: () => Promise.resolve() };
  return { pull: pullDeps, records, leases, plans, announcer, metrics: { add: () => undefined } };
};

type Gate = ReturnType<typeof gate>;

/** Where the first try of the plan task stops for a while. */
const stalls: { at: string; stalled: (deps: JobDeps, at: Gate) => JobDeps; known?: boolean }[] = [
  {
    at: 'with its answer, before that is recorded',
    stalled: (deps, at) =>
      withCatalog(deps, (catalog) => ({
        recordResolution: async (...args) => (await at.pass(), catalog.recordResolution(...args)),
      })),
  },
  {
    at: 'before it publishes',
    known: true,
    stalled: (deps, at) =>
      withCatalog(deps, (catalog) => ({
        publish: async (...args) => (await at.pass(), catalog.publish(...args)),
      })),
  },
  {
    at: 'before it writes its plan',
    known: false,
    stalled: (deps, at) => ({
      ...deps,
      plans: { ...deps.plans, write: async (...args) => (await at.pass(), deps.plans.write(...args)) },
    }),
  },
];

const withCatalog = (
  deps: JobDeps,
  change: (catalog: PullDeps['catalog']) => Partial<PullDeps['catalog']>,
): JobDeps => ({
  ...deps,
  pull: { ...deps.pull, catalog: { ...deps.pull.catalog, ...change(deps.pull.catalog) } },
});

describe('a plan task that is repeated while its first try still runs', { concurrency: 4 }, () => {
  let number = 0;
  for (const { at, stalled, known } of stalls) {
    for (const olderIsKnown of known === undefined ? [false, true] : [known]) {
      const repository = `twice/${number++}`;
      test(`the first stops ${at}; the older image is ${olderIsKnown ? '' : 'not '}known`, async () => {
        const { older, newer, move } = offered(repository);
        if (olderIsKnown) await faulty.cache.pull(`registry.example.test/${repository}:other`);
        const deps = workflow();
        const reference = `registry.example.test/${repository}:v1`;
        const { record } = await deps.records.join(requestOf(reference), forever);
        const task = { id: record.id };
        const stop = gate();
        const first = planTask(stalled(deps, stop), task, forever).then(
          ({ outcome }) => outcome,
          (error: unknown) => error,
        );
        await stop.arrived;
        move();
        const planned = await planTask(deps, task, forever);
        stop.open();
        const ended = await first;
        const seen = await pointerOf(reference);
        assert.equal(seen.resolved, newer.root.digest);
        assert.notEqual(seen.published, older.root.digest);
        const isRefused = ended instanceof TaskError && ended.name === 'PlanAgain';
        assert.ok(isRefused || ended === 'copy', String(ended));
        assert.ok(planned.outcome === 'copy');
        const batches = [];
        for (const batch of planned.batches) batches.push(await copyTask(deps, batch, forever));
        await publishTask(deps, { id: record.id, plan: planned.plan, batches }, forever);
        const { published, resolved } = await pointerOf(reference);
        assert.deepEqual([published, resolved], [newer.root.digest, newer.root.digest]);
        assert.equal((await deps.records.find(record.id, forever))?.receipt?.digest, newer.root.digest);
      });
    }
  }
});

/** The upstreams, of which the first answer to a question for a tag is held back, and says that it is of another time. */
function heldBack(deps: PullDeps, at: Gate, aheadMs: number): PullDeps {
  let asked = 0;
  const held = (upstream: Upstream): Upstream => ({
    repository: upstream.repository,
    domain: upstream.domain,
    requests: upstream.requests,
    refusals: upstream.refusals,
    readManifest: (...args) => upstream.readManifest(...args),
    openBlob: (...args) => upstream.openBlob(...args),
    hasBlob: (...args) => upstream.hasBlob(...args),
    sizeOfBlob: (...args) => upstream.sizeOfBlob(...args),
    findRedirect: (...args) => upstream.findRedirect(...args),
    listTags: (...args) => upstream.listTags(...args),
    listReferrers: (...args) => upstream.listReferrers(...args),
    async resolve(...args) {
      const said = await upstream.resolve(...args);
      if (asked++ === 0) await at.pass();
      return { ...said, checkedMs: said.checkedMs + aheadMs };
    },
  });
  const { upstreams } = deps;
  return { ...deps, upstreams: { ...upstreams, open: async (...args) => held(await upstreams.open(...args)) } };
}

const CLOCKS = [
  { clock: 'as ours', aheadMs: 0 },
  { clock: 'ahead', aheadMs: 60_000 },
  { clock: 'behind', aheadMs: -60_000 },
];

describe('a question of serving that arrives twice under one lock', () => {
  for (const { clock, aheadMs } of CLOCKS) {
    test(`the older answer comes last; its clock is ${clock}`, async () => {
      const repository = `landed/${clock.replaceAll(' ', '-')}`;
      const { newer, move } = offered(repository);
      const name = `registry.example.test/${repository}:v1`;
      const reference = parseReference(name);
      const { pull: deps } = faulty.cache.services;
      await using lock = await acquire(deps.leases, pullLeaseName(reference), forever);
      const call = { signal: forever, metrics: { add: () => undefined } } as unknown as ServeCall;
      const stop = gate();
      const late = upstreamFetcher(heldBack(deps, stop, aheadMs)).resolve(call, reference, lock, undefined);
      await stop.arrived;
      move();
      const { digest } = await upstreamFetcher(deps).resolve(call, reference, lock, undefined);
      stop.open();
      assert.equal(digest, newer.root.digest);
      assert.equal((await late).digest, newer.root.digest, 'it asked again');
      assert.equal((await pointerOf(name)).resolved, newer.root.digest);
    });
  }
});

describe('alwaysPull', { concurrency: 4 }, () => {
  for (const { clock, aheadMs } of CLOCKS) {
    test(`a caller that comes after the tag moved is not answered by who asked before; its clock is ${clock}`, async () => {
      const repository = `skew/${clock.replaceAll(' ', '-')}`;
      const { older, newer, move } = offered(repository);
      const name = `registry.example.test/${repository}:v1`;
      const { pull: deps } = faulty.cache.services;
      const stop = gate();
      const first = pull(heldBack(deps, stop, aheadMs), requestOf(name), forever);
      await stop.arrived;
      move();
      const refused = gate();
      const second = pull(watched(deps, refused), requestOf(name), forever);
      await refused.arrived;
      refused.open();
      stop.open();
      assert.equal((await first).digest, older.root.digest);
      assert.equal((await second).digest, newer.root.digest);
    });
  }

  test('callers that wait for the lock when somebody takes it share what that one is answered', async () => {
    const repository = 'herd';
    const { older } = offered(repository);
    const name = `registry.example.test/${repository}:v1`;
    const { pull: deps } = faulty.cache.services;
    await faulty.cache.pull(name);
    const lock = await acquire(deps.leases, pullLeaseName(parseReference(name)), forever);
    const heads = () => faults.upstream.count({ repository, method: 'HEAD', kind: 'manifest' });
    const before = heads();
    const CALLERS = 8;
    let waiting = 0;
    const counting: PullDeps = {
      ...deps,
      leases: {
        ...deps.leases,
        async tryAcquire(...args) {
          const outcome = await deps.leases.tryAcquire(...args);
          waiting += 1;
          return outcome;
        },
      },
    };
    const pulls = Array.from({ length: CALLERS }, () => pull(counting, requestOf(name), forever));
    // Each of them has looked twice: what it noted after the first refusal is read.
    await until(() => waiting >= 3 * CALLERS);
    await lock.release();
    const receipts = await Promise.all(pulls);
    assert.deepEqual(new Set(receipts.map(({ digest }) => digest)), new Set([older.root.digest]));
    assert.equal(heads() - before, 1);
  });

  test('without a change it costs six requests to the table, and one HEAD', async () => {
    const { older } = offered('cost');
    const name = 'registry.example.test/cost:v1';
    await using own = await faults.open();
    await own.cache.pull(name);
    own.dynamo.log.length = 0;
    const receipt = await own.cache.pull(name, { alwaysPull: true });
    assert.deepEqual([receipt.outcome, receipt.digest], ['hit', older.root.digest]);
    assert.equal(receipt.registryRequests.total, 1);
    assert.equal(own.dynamo.log.length, 6);
  });
});

/** Its callers stop where they were refused the lock. */
function watched(deps: PullDeps, at: Gate): PullDeps {
  return {
    ...deps,
    catalog: {
      ...deps.catalog,
      async findPointer(...args) {
        const pointer = await deps.catalog.findPointer(...args);
        await at.pass();
        return pointer;
      },
    },
  };
}
