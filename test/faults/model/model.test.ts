import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exploreAll, exploreSeed, exploreSeeds, type FaultBudget, type Found } from './explore.ts';
import { ALL_GUARDS, without, type Guards } from './guards.ts';
import { EXHAUSTIVE } from './scenarios.ts';

/*
 * The protocol of completeness as a model: no schedule breaks it, and without any one of its rules some schedule does. MODEL_SCHEDULES says how many random
 * schedules there are, MODEL_SEED repeats one and prints it. MODEL_ALL_ORDERS=1 searches all orders of the large scenarios too, as CI does;
 * MODEL_FAULTS=1 also with one fault in each.
 */
const SCHEDULES = Number(process.env.MODEL_SCHEDULES ?? 5_000);
const FIRST_SEED = Number(process.env.MODEL_SEED ?? Date.now() % 1_000_000_000);
const IS_REPLAY = process.env.MODEL_SEED !== undefined;
const WITH_FAULTS = process.env.MODEL_FAULTS === '1';
const ALL_ORDERS = WITH_FAULTS || process.env.MODEL_ALL_ORDERS === '1';

const report = ({ problem, trace, seed }: Found): string =>
  [problem, ...(seed === undefined ? [] : [`MODEL_SEED=${seed}`]), ...trace].join('\n  ');

const ONE_OF_EACH: readonly FaultBudget[] = [{ kill: 1 }, { stop: 1 }, { lapse: 1 }, { lost: 1 }, { again: 1 }];
/** States above which a scenario is searched with faults by hand alone. */
const SMALL = 5_000;

for (const [name, scenario] of Object.entries(EXHAUSTIVE)) {
  if (scenario.isLarge === true && !ALL_ORDERS) continue;
  test(`all orders: ${name}`, (t) => {
    const { states, steps, found } = exploreAll(scenario, ALL_GUARDS);
    t.diagnostic(`${states} states, ${steps} steps`);
    assert.ok(found === undefined, found && report(found));
    if (states > SMALL && !WITH_FAULTS) return;
    for (const faults of ONE_OF_EACH) {
      const disturbed = exploreAll(scenario, ALL_GUARDS, faults);
      t.diagnostic(`${disturbed.states} states with ${JSON.stringify(faults)}`);
      assert.ok(disturbed.found === undefined, disturbed.found && report(disturbed.found));
    }
  });
}

test(`${IS_REPLAY ? 1 : SCHEDULES} random schedules, from seed ${FIRST_SEED}`, (t) => {
  if (IS_REPLAY) {
    const found = exploreSeed(FIRST_SEED, ALL_GUARDS);
    assert.ok(found === undefined, found && report(found));
    return;
  }
  const { schedules, found } = exploreSeeds(FIRST_SEED, SCHEDULES, ALL_GUARDS);
  assert.ok(found === undefined, found && report(found));
  t.diagnostic(`${schedules} schedules`);
});

/** Each rule alone is taken out, and random schedules from seed 1 on find that within so many. */
const FOUND_WITHIN: Readonly<Record<keyof Guards, number>> = {
  commitReadBeforeStore: 1_000,
  lossOnCommit: 2_000,
  epochInLoss: 100,
  deletionRenewsCommit: 500,
  deletionRenewsUnclaimed: 2_000,
  commitOnCommit: 2_000,
  putAlwaysWrites: 2_000,
  adoptOnCommit: 2_000,
  adoptionReadsBytes: 100,
  proofOnCommit: 2_000,
  shardBeforeRows: 100,
  publishOnShard: 100,
  knownRootIsDated: 100,
  raisingReplaces: 100,
  sameDateAddsOwn: 2_000,
  sameDateKeeps: 100,
  hitComparesDate: 100,
  hitAsksForUndated: 100,
  publishOnLock: 200,
};

for (const [guard, within] of Object.entries(FOUND_WITHIN) as [keyof Guards, number][]) {
  test(`without ${guard} something goes wrong within ${within} schedules`, (t) => {
    const { schedules, found } = exploreSeeds(1, within, without(guard));
    assert.ok(found !== undefined, `${schedules} schedules found nothing`);
    t.diagnostic(`schedule ${schedules}: ${found.problem}`);
  });
}
