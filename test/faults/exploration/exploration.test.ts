import { after, before, test } from 'node:test';
import { exploreSchedule, type Repertoire } from './explore.ts';
import { startLaboratory, type Laboratory } from './laboratory.ts';

/*
 * Seeded random schedules over the real code and the embedded servers. EXPLORE_SCHEDULES says how many, EXPLORE_SEED repeats one.
 */
const SCHEDULES = Number(process.env.EXPLORE_SCHEDULES ?? 12);
const FIRST_SEED = Number(process.env.EXPLORE_SEED ?? Date.now() % 1_000_000);
const COUNT = process.env.EXPLORE_SEED === undefined ? SCHEDULES : 1;

/** Who acts, and what disturbs. Named twice: twice as often. */
const REPERTOIRE: Repertoire = {
  actors: [
    ...(['pull', 'pull', 'alwaysPull', 'stoppedPull', 'mover', 'remover', 'validator', 'rebuilder', 'clock'] as const),
    ...(['deleter', 'deleter', 'notifier', 'notifier', 'putterBack'] as const),
  ],
  disturbances: ['lost answer', 'reset', 'throttled', 'conflict', 'late', 'frozen', 'frozen'],
};

let laboratory: Laboratory;
before(async () => {
  laboratory = await startLaboratory();
});
after(() => laboratory[Symbol.asyncDispose]());

test(`${COUNT} schedules from seed ${FIRST_SEED}`, { timeout: 9 * 60_000 }, async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) await exploreSchedule(laboratory, seed, REPERTOIRE);
});
