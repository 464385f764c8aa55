import { CreateTableCommand, DynamoDBClient, waitUntilTableExists } from '@aws-sdk/client-dynamodb';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { tableDefinition } from '../../infra/table.ts';
import { dynamoTable } from '../../lib/table/dynamo-table.ts';
import { tagKey } from '../../lib/table/keys.ts';
import { isLease } from '../../lib/lock/lease.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import { pull } from '../../lib/pull/pull.ts';
import type { PullDeps } from '../../lib/pull/pull-request.ts';
import { nameOf } from '../../lib/pull/ref-order.ts';
import { removeTag } from '../../lib/images/remove-tag.ts';
import { rebuild, type RebuiltReference } from '../../lib/repair/rebuild.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { openCache, type TestCache } from '../support/cache.ts';
import { noiseImage, upstreamImage } from '../support/images.ts';
import { startFaultBench, type FaultBench, type FaultyCache } from './fault-bench.ts';

/*
 * What a rebuild makes of the records under refs/ is what the table said last, whatever happened to the writers in between.
 */

const REGISTRY = 'registry.example.test';
const forever = new AbortController().signal;

let faults: FaultBench;
let faulty: FaultyCache;
before(async () => {
  faults = await startFaultBench();
  // Short, so that nobody waits long for the lock of a publisher that stands still.
  faulty = await faults.bench.use(faults.open({ leaseSeconds: 2 }));
});
after(() => faults[Symbol.asyncDispose]());

let images = 0;
/** The upstream has another image under the tag from now on. */
function move(repository: string): Digest {
  const image = noiseImage({ name: `${repository}-${images++}` });
  faults.upstream.addImage(repository, upstreamImage(image, 'v1'));
  return image.root.digest;
}

const nameIn = (repository: string): string => `${REGISTRY}/${repository}:v1`;
const publishedIn = async ({ services }: TestCache, repository: string): Promise<Digest | undefined> =>
  (await services.catalog.findPointer(parseReference(nameIn(repository)), { consistent: true, signal: forever }))
    ?.published;
const recordOf = (repository: string) =>
  faulty.cache.services.pull.refs.find(nameOf(parseReference(nameIn(repository))), forever);
const removed = (repository: string): Promise<boolean> =>
  removeTag(faulty.cache.services.pull, parseReference(nameIn(repository)), forever);

/** What a new table says, made from the bucket alone. */
async function rebuiltElsewhere(repository: string): Promise<Digest | undefined> {
  const { stack } = faults.bench;
  const client = new DynamoDBClient(stack.dynamoConfig);
  const table = `rebuilt-${randomUUID()}`;
  await client.send(new CreateTableCommand(tableDefinition(table)));
  await waitUntilTableExists({ client, maxWaitTime: 20, minDelay: 1 }, { TableName: table });
  client.destroy();
  await using cache = await openCache({ ...stack, table }, { registries: { [REGISTRY]: { credentials: 'none' } } });
  await Array.fromAsync(rebuild(cache.services.pull, forever));
  return await publishedIn(cache, repository);
}

/** Runs `work` on a machine whose clock is wrong. */
async function withClock<T>(aheadMs: number, work: () => Promise<T>): Promise<T> {
  const real = Date.now;
  Date.now = () => real() + aheadMs;
  try {
    return await work();
  } finally {
    Date.now = real;
  }
}

for (const aheadMs of [120_000, -120_000]) {
  test(`the record is that of the last publish, though the clock of one publisher is ${aheadMs} ms ahead`, async () => {
    const repository = `clock/${aheadMs > 0 ? 'ahead' : 'behind'}`;
    move(repository);
    await withClock(Math.max(aheadMs, 0), () => faulty.cache.pull(nameIn(repository)));
    const last = move(repository);
    await withClock(Math.min(aheadMs, 0), () => faulty.cache.pull(nameIn(repository), { alwaysPull: true }));
    assert.equal((await recordOf(repository))?.digest, last);
    assert.equal(await rebuiltElsewhere(repository), last);
  });
}

const refused = { kind: 'answer', answer: { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' } } as const;

describe('a publish whose record cannot be written has happened, and says so', () => {
  for (const { name, path } of [
    { name: 'the record', path: /refs\/registry/ },
    { name: 'anything under refs/', path: /refs/ },
  ]) {
    test(`S3 refuses ${name}; the next pull under the lock writes it`, async () => {
      const repository = `unrecorded/${name.length}`;
      const digest = move(repository);
      await using own = await faults.open();
      own.s3.rules.push({ method: 'PUT', path, times: Infinity, action: refused });
      const receipt = await own.cache.pull(nameIn(repository));
      assert.deepEqual([receipt.outcome, receipt.digest], ['pulled', digest]);
      assert.match(receipt.recordError ?? '', /AccessDenied|403/);
      assert.equal(await publishedIn(own.cache, repository), digest);

      const again = await own.cache.pull(nameIn(repository), { alwaysPull: true });
      assert.equal(again.outcome, 'hit');
      assert.notEqual(again.recordError, undefined);
      own.s3.rules.length = 0;
      assert.equal(await recordOf(repository), undefined);
      const repaired = await own.cache.pull(nameIn(repository), { alwaysPull: true });
      assert.deepEqual([repaired.outcome, repaired.recordError], ['hit', undefined]);
      assert.equal((await recordOf(repository))?.digest, digest);
      assert.equal(await rebuiltElsewhere(repository), digest);
      // And then the bucket is not asked any more.
      own.s3.log.length = 0;
      await own.cache.pull(nameIn(repository), { alwaysPull: true });
      assert.equal(own.s3.log.length, 0);
    });
  }
});

/** A publisher whose process stands still between its publish and its record: its lock lapses, and it does not notice. */
function frozen(deps: PullDeps) {
  const [about, go] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
  const late: PullDeps = {
    ...deps,
    leases: {
      ...deps.leases,
      async tryAcquire(name, ...rest) {
        const lease = await deps.leases.tryAcquire(name, ...rest);
        if (name.startsWith('pull:') && isLease(lease)) await lease.stopRenewing();
        return lease;
      },
    },
    refs: {
      ...deps.refs,
      async write(...args) {
        about.resolve(undefined);
        await go.promise;
        return await deps.refs.write(...args);
      },
    },
  };
  return { late, about: about.promise, go: () => go.resolve(undefined) };
}

describe('a publisher that writes its record long after it lost its lock', { concurrency: 4 }, () => {
  const meanwhiles: { name: string; work: (repository: string) => Promise<Digest | undefined> }[] = [
    { name: 'the tag was removed', work: async (repository) => (await removed(repository), undefined) },
    {
      name: 'the tag moved',
      work: async (repository) => {
        const digest = move(repository);
        await faulty.cache.pull(nameIn(repository), { alwaysPull: true });
        return digest;
      },
    },
    {
      name: 'the tag was removed, and pulled again',
      work: async (repository) => {
        await removed(repository);
        const digest = move(repository);
        await faulty.cache.pull(nameIn(repository));
        return digest;
      },
    },
    {
      name: 'the tag was pulled again, and removed',
      work: async (repository) => {
        move(repository);
        await faulty.cache.pull(nameIn(repository), { alwaysPull: true });
        await removed(repository);
        return undefined;
      },
    },
  ];
  for (const [i, { name, work }] of meanwhiles.entries()) {
    test(name, async () => {
      const repository = `late/${i}`;
      move(repository);
      const { late, about, go } = frozen(faulty.cache.services.pull);
      const request = {
        reference: parseReference(nameIn(repository)),
        platforms: [],
        alwaysPull: false,
        attestations: true,
      };
      const pulling = pull(late, request, forever);
      await about;
      const last = await work(repository);
      go();
      await pulling;
      assert.equal((await recordOf(repository))?.digest, last);
      assert.equal(await publishedIn(faulty.cache, repository), last);
      assert.equal(await rebuiltElsewhere(repository), last);
    });
  }
});

describe('a table that was restored from a backup', () => {
  /** The row of the tag as a backup has it, and the way to put it back. */
  async function backedUp(repository: string): Promise<() => Promise<void>> {
    const { stack } = faults.bench;
    const rows = dynamoTable(new DynamoDBClient(stack.dynamoConfig), stack.table);
    const row = await rows.get(tagKey(parseReference(nameIn(repository))), true, 'back up', forever);
    return () => rows.putAll([row as never], 'restore', forever);
  }
  const rebuilt = (): Promise<RebuiltReference[]> => Array.fromAsync(rebuild(faulty.cache.services.pull, forever));

  test('what is published after it is newer than every record from before', async () => {
    const repository = 'restored/published';
    move(repository);
    await faulty.cache.pull(nameIn(repository));
    const restore = await backedUp(repository);
    for (const _ of [1, 2, 3]) {
      move(repository);
      await faulty.cache.pull(nameIn(repository), { alwaysPull: true });
    }
    await restore();
    for (const _ of [1, 2]) {
      const last = move(repository);
      const receipt = await faulty.cache.pull(nameIn(repository), { alwaysPull: true });
      assert.deepEqual([receipt.outcome, receipt.recordError], ['pulled', undefined]);
      assert.equal((await recordOf(repository))?.digest, last);
      assert.equal(await rebuiltElsewhere(repository), last);
    }
  });

  test('a rebuild brings what was published after the backup', async () => {
    const repository = 'restored/rebuilt';
    move(repository);
    await faulty.cache.pull(nameIn(repository));
    const restore = await backedUp(repository);
    const last = move(repository);
    await faulty.cache.pull(nameIn(repository), { alwaysPull: true });
    await restore();
    await rebuilt();
    assert.equal(await publishedIn(faulty.cache, repository), last);
  });

  test('a rebuild removes what was removed after the backup', async () => {
    const repository = 'restored/removed';
    move(repository);
    await faulty.cache.pull(nameIn(repository));
    const restore = await backedUp(repository);
    await removed(repository);
    await restore();
    const outcomes = await rebuilt();
    assert.deepEqual(
      outcomes.filter((one) => one.outcome === 'removed'),
      [{ outcome: 'removed', reference: nameIn(repository), lost: 0 }],
    );
    assert.equal(await publishedIn(faulty.cache, repository), undefined);
    const again = move(repository);
    await faulty.cache.pull(nameIn(repository));
    assert.equal((await recordOf(repository))?.digest, again);
    assert.equal(await rebuiltElsewhere(repository), again);
  });
});
