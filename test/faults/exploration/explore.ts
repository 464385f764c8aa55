import assert from 'node:assert/strict';
import { checkContent, checkPublished } from '../../support/invariants.ts';
import { below, pick, randomOf } from '../../support/random.ts';
import { ACTORS, deliver, setClocksRight, type ActorName } from './actors.ts';
import { calm, disturb, type Disturbance } from './disturb.ts';
import type { Laboratory } from './laboratory.ts';
import { newSchedule, type Schedule } from './schedule.ts';

const FEWEST_ACTORS = 3;
const MOST_ACTORS = 9;
const MOST_FAULTS = 4;
/** A schedule takes a fraction of a second; with leases of dead holders some seconds. */
const HANGS_AFTER_MS = 45_000;
const DELIVERIES = 5;
/** The chance of a tag to be in the cache when a schedule begins: what is lost has to be there first. */
const PULLED_BEFORE = 0.7;

/** What a schedule may be made of. */
export interface Repertoire {
  readonly actors: readonly ActorName[];
  readonly disturbances: readonly Disturbance[];
}

/**
 * One schedule over the real code, as the seed has it: who acts, on what, when about, and which requests go wrong. Then all faults end, every announced
 * deletion is delivered, each reference is pulled again, and everything must hold and be whole.
 *
 * The same seed makes the same plan, but the machine decides who is faster: what it found may need some tries to be seen again.
 *
 * @throws an error that names the seed and says what happened.
 */
export async function exploreSchedule(laboratory: Laboratory, seed: number, repertoire: Repertoire): Promise<void> {
  const random = randomOf(seed);
  const schedule = newSchedule(laboratory, seed, random);
  laboratory.upstream.requests.length = 0;
  try {
    await actAll(schedule, repertoire);
    await settle(schedule);
    assert.deepEqual(schedule.violations, []);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`EXPLORE_SEED=${seed}: ${why}\n  ${schedule.notes.join('\n  ')}`, { cause: error });
  } finally {
    setClocksRight();
    calm(laboratory.proxies);
    await laboratory.clear();
  }
}

async function actAll(schedule: Schedule, { actors, disturbances }: Repertoire): Promise<void> {
  const { random, laboratory, tags } = schedule;
  for (const { reference } of tags) if (random() < PULLED_BEFORE) await laboratory.calm.pull(reference);
  calm(laboratory.proxies);
  const faults = below(random, MOST_FAULTS + 1);
  schedule.interruptions.count += faults;
  for (const note of disturb(laboratory.proxies, faults, disturbances, random)) schedule.note(note);
  const count = FEWEST_ACTORS + below(random, MOST_ACTORS - FEWEST_ACTORS + 1);
  // Without a pull, nothing of interest happens.
  const names: ActorName[] = ['pull', ...Array.from({ length: count - 1 }, () => pick(random, actors))];
  schedule.note(names.join(', '));
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error('it hangs')), HANGS_AFTER_MS);
  try {
    await Promise.race([Promise.all(names.map((name) => ACTORS[name](schedule))), timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function settle(schedule: Schedule): Promise<void> {
  const { laboratory, tags, announced, violations } = schedule;
  setClocksRight();
  calm(laboratory.proxies);
  schedule.note('all is calm');
  for (let tries = 0; announced.length > 0; tries++) {
    assert.ok(tries < DELIVERIES * (announced.length + tries), 'an event cannot be delivered');
    if (await deliver(schedule, laboratory.calm, announced[0]!)) announced.shift();
  }
  for (const { reference, meant } of tags) {
    const { outcome, digest } = await laboratory.calm.pull(reference);
    schedule.note(`pull ${reference} again: ${outcome}`);
    if (outcome === 'partial') violations.push(`${reference} cannot be pulled any more`);
    if (meant.every(({ image }) => image.root.digest !== digest))
      violations.push(`I3: ${reference} is what it never meant`);
  }
  checkFetches(schedule);
  const content = await checkContent(laboratory.stack, schedule.bytes.keys());
  for (const { reference } of tags) {
    assert.ok(await checkPublished(laboratory.calm.services, reference, content), `${reference} is not published`);
    const before = laboratory.upstream.requests.length;
    const { outcome } = await laboratory.calm.pull(reference);
    assert.equal(outcome, 'hit', `${reference} is no hit after it was pulled`);
    assert.equal(laboratory.upstream.requests.length, before, 'a hit asks no registry');
    const { state, missing } = await laboratory.calm.validate(reference, { deep: true });
    assert.equal(state, 'complete', `${reference} does not heal: ${JSON.stringify(missing)}`);
  }
}

/** I4: whatever was fetched more than once was deleted meanwhile, or its copier was interrupted. */
function checkFetches({ laboratory, offers, losses, interruptions }: Schedule): void {
  for (const digest of new Set(offers.flatMap(({ image }) => [...image.blobs.keys()]))) {
    const fetches = laboratory.upstream.count({ kind: 'blob', method: 'GET', reference: digest });
    const reasons = 1 + (losses.deletions.get(digest) ?? 0) + interruptions.count;
    assert.ok(fetches <= reasons, `I4: ${digest} was fetched ${fetches} times, for ${reasons} reasons at most`);
  }
}
