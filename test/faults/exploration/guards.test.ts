import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ActorName } from './actors.ts';
import { exploreSchedule } from './explore.ts';
import { GUARDS, type Guard } from './guards.ts';
import { startLaboratory } from './laboratory.ts';
import { REPERTOIRE } from './repertoire.ts';
import { STEPS, type Step } from './standstills.ts';

/*
 * An exploration that finds nothing proves nothing: each guard is taken out alone, and random schedules find what goes wrong without it within so many.
 * EXPLORE_GUARDS=all takes out each of them but those that take long, =fast those that are found soon, as CI does; =<name> one; else the one that is found at once.
 * EXPLORE_SEED says where the seeds begin.
 */
const FIRST_SEED = Number(process.env.EXPLORE_SEED ?? 1);
const CHOSEN = process.env.EXPLORE_GUARDS ?? 'lost-config';

interface Search {
  readonly within: number;
  /** Where processes stand still: where the guard matters. */
  readonly standstills?: readonly Step[];
  /** Who acts more often than usual. */
  readonly more?: readonly ActorName[];
  readonly isFast?: boolean;
  /** It takes longer than CI may: only by name. */
  readonly isRare?: boolean;
}

/** Some times the schedules that it took from other seeds. */
const SEARCHES: Readonly<Record<Guard, Search>> = {
  'etag-aba': { within: 300, standstills: ['recordLossAgain', 'recordLossAgain', 'commitBlob'] },
  'known-root-race': { within: 100, standstills: ['publish'] },
  'restored-object': { within: 100 },
  'lost-config': { within: 30, isFast: true },
  'old-head': {
    within: 1_000,
    isRare: true,
    standstills: ['commitBlob', 'recordBlob'],
    more: ['putterBack', 'putterBack', 'putterBack', 'follower'],
  },
  'deleted-after-put': { within: 300, standstills: ['commitBlob', 'recordBlob'] },
  'two-tags': {
    within: 300,
    standstills: ['publish'],
    more: ['validator', 'validator', 'validator', 'validator', 'validator', 'validator'],
  },
  're-dated': { within: 30, isFast: true },
};

const isChosen = (guard: Guard, { isFast = false, isRare = false }: Search): boolean =>
  CHOSEN === guard || (CHOSEN === 'fast' && isFast) || (CHOSEN === 'all' && !isRare);

/** Most of a schedule waits. */
const AT_ONCE = 4;

describe('without one of the guards', { concurrency: AT_ONCE }, () => {
  for (const [guard, search] of Object.entries(SEARCHES) as [Guard, Search][]) {
    if (!isChosen(guard, search)) continue;
    const { within, standstills = STEPS, more = [] } = search;
    // A process of its own has all its guards, and the clock is that of the other tests, too.
    const usual = REPERTOIRE.actors.filter((name) => name !== 'killedPull' && name !== 'clock');
    const repertoire = { ...REPERTOIRE, actors: [...usual, ...more], standstills };
    test(`${guard}: something goes wrong within ${within} schedules`, async (t) => {
      await using laboratory = await startLaboratory(GUARDS[guard]);
      for (let seed = FIRST_SEED; seed < FIRST_SEED + within; seed++) {
        const found = await exploreSchedule(laboratory, seed, repertoire).then(
          () => undefined,
          (error: unknown) => error as Error,
        );
        // A machine that is too slow for a lease of a second says nothing of the guard.
        if (found === undefined || found.message.includes('could not be renewed')) continue;
        assert.doesNotMatch(found.message, /it hangs/);
        t.diagnostic(`schedule ${seed - FIRST_SEED + 1}: ${found.message.split('\n')[0] ?? ''}`);
        return;
      }
      assert.fail(`${within} schedules from seed ${FIRST_SEED} found nothing`);
    });
  }
});
