import { after, before, test } from 'node:test';
import { exploreSchedule } from './explore.ts';
import { ALL_GUARDS } from './guards.ts';
import { startLaboratory, type Laboratory } from './laboratory.ts';
import { REPERTOIRE } from './repertoire.ts';

/*
 * Seeded random schedules over the real code and the embedded servers. EXPLORE_SCHEDULES says how many (by hand, with `node --test` and this file, thousands),
 * EXPLORE_SEED repeats one. A failure prints its seed, and what happened. EXPLORE_SECONDS bounds the search: a slow machine does fewer.
 */
const SCHEDULES = Number(process.env.EXPLORE_SCHEDULES ?? 4);
const FIRST_SEED = Number(process.env.EXPLORE_SEED ?? Date.now() % 1_000_000);
const SECONDS = Number(process.env.EXPLORE_SECONDS ?? Infinity);
/** On average. */
const LONGEST_MS = 45_000;
const COUNT = process.env.EXPLORE_SEED === undefined ? SCHEDULES : 1;

let laboratory: Laboratory;
before(async () => {
  laboratory = await startLaboratory(ALL_GUARDS);
});
after(() => laboratory[Symbol.asyncDispose]());

test(`${COUNT} schedules from seed ${FIRST_SEED}`, { timeout: COUNT * LONGEST_MS }, async (t) => {
  const endMs = performance.now() + SECONDS * 1000;
  let seed = FIRST_SEED;
  let slow = 0;
  do {
    try {
      await exploreSchedule(laboratory, seed, REPERTOIRE);
    } catch (error) {
      // A machine that is too slow for a lease of a second says nothing; one that mostly is explores nothing.
      if (!(error as Error).message.includes('could not be renewed') || ++slow > SCHEDULES / 2) throw error;
    }
    seed += 1;
  } while (seed < FIRST_SEED + COUNT && performance.now() < endMs);
  t.diagnostic(`${seed - FIRST_SEED} schedules, ${slow} of them too slowly`);
});
