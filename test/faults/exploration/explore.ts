import assert from 'node:assert/strict';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { checkContent, checkPublished } from '../../support/invariants.ts';
import { below, pick, randomOf } from '../../support/random.ts';
import { ACTORS, deliver, REACTING, setClocksRight, type ActorName } from './actors.ts';
import { calm, disturb } from './disturb.ts';
import type { Laboratory } from './laboratory.ts';
import type { Repertoire } from './repertoire.ts';
import { newSchedule, type Offer, type Schedule } from './schedule.ts';

const FEWEST_ACTORS = 3;
const MOST_ACTORS = 9;
const MOST_FAULTS = 4;
/** A schedule takes a fraction of a second; with leases of dead holders some seconds. */
const HANGS_AFTER_MS = 45_000;
const DELIVERIES = 5;
/** The chance of a tag to be in the cache when a schedule begins: what is lost has to be there first. */
const PULLED_BEFORE = 0.6;
/** The chance of a schedule to begin with nothing there. */
const COLD = 0.4;

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
  for (const { requests } of laboratory.upstreams.values()) requests.length = 0;
  laboratory.standstills.note = schedule.note;
  try {
    await actAll(schedule, repertoire);
    await settle(schedule);
    assert.equal(schedule.violations.length, 0, schedule.violations.join('\n'));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`EXPLORE_SEED=${seed}: ${why}\n  ${schedule.notes.join('\n  ')}`, { cause: error });
  } finally {
    setClocksRight();
    await calm(laboratory);
    await laboratory.clear();
  }
}

async function actAll(schedule: Schedule, repertoire: Repertoire): Promise<void> {
  const { random, laboratory, tags } = schedule;
  // The first to bring content says whose it is (I9).
  const first = random() < 0.5 ? tags : tags.toReversed();
  const isCold = random() < COLD;
  for (const { reference } of first) if (!isCold && random() < PULLED_BEFORE) await laboratory.calm.pull(reference);
  await calm(laboratory);
  const faults = below(random, MOST_FAULTS + 1);
  const { notes, isLate } = await disturb(laboratory, faults, repertoire, random);
  schedule.interruptions.count += notes.length;
  schedule.isLate.value = isLate;
  for (const note of notes) schedule.note(note);
  const count = FEWEST_ACTORS + below(random, MOST_ACTORS - FEWEST_ACTORS + 1);
  // Without a pull, and somebody in whose way it is, nothing of interest happens.
  const names: ActorName[] = [
    'pull',
    'deleter',
    ...Array.from({ length: count - 2 }, () => pick(random, repertoire.actors)),
  ];
  schedule.note(names.join(', '));
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error('it hangs')), HANGS_AFTER_MS);
  try {
    const acting = names.map((name) => [name, ACTORS[name](schedule)] as const);
    const others = acting.filter(([name]) => !REACTING.has(name)).map(([, act]) => act);
    void Promise.allSettled(others).then(() => schedule.quiet.resolve([]));
    await Promise.race([Promise.all(acting.map(([, act]) => act)), timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function settle(schedule: Schedule): Promise<void> {
  const { laboratory, tags, announced, violations } = schedule;
  setClocksRight();
  await calm(laboratory);
  schedule.note('all is calm');
  for (let tries = 0; announced.length > 0; tries++) {
    assert.ok(tries < DELIVERIES * (announced.length + tries), 'an event cannot be delivered');
    if (await deliver(schedule, laboratory.calm, announced[0]!)) announced.shift();
  }
  const left = await checkContent(laboratory.stack, schedule.bytes.keys());
  for (const { reference } of tags) await checkPublished(laboratory.calm.services, reference, left, { isWhole: false });
  await checkBelieved(schedule, left);
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
    const before = asked(laboratory);
    const { outcome } = await laboratory.calm.pull(reference);
    assert.equal(outcome, 'hit', `${reference} is no hit after it was pulled`);
    assert.equal(asked(laboratory), before, 'a hit asks no registry');
    const { state, missing } = await laboratory.calm.validate(reference, { deep: true });
    assert.equal(state, 'complete', `${reference} does not heal: ${JSON.stringify(missing)}`);
  }
}

/** What is in the store counts, whoever put it there, whatever the rows said: where all that a platform needs is there, it is whole without a registry. */
async function checkBelieved(
  { laboratory, random, tags, note }: Schedule,
  content: ReadonlyMap<Digest, Uint8Array>,
): Promise<void> {
  const { catalog } = laboratory.calm.services;
  for (const { reference, meant } of tags) {
    const signal = AbortSignal.timeout(10_000);
    const { root, linked } = await catalog.find(parseReference(reference), { consistent: true, signal });
    const offer = meant.find(({ image }) => image.root.digest === root?.digest);
    for (const [platform, needed] of offer?.platforms ?? []) {
      const isLinked = manifestsIn(offer!, needed).every((digest) => linked?.has(digest));
      if (!isLinked || !needed.every((digest) => content.has(digest))) continue;
      const before = asked(laboratory);
      const options = { platforms: [platform] };
      const answer =
        random() < 0.5
          ? (await laboratory.calm.validate(reference, { ...options, deep: true })).state
          : (await laboratory.calm.pull(reference, options)).outcome;
      note(`${reference} ${platform} is all in the store: ${answer}`);
      assert.ok(
        ['complete', 'hit'].includes(answer),
        `${reference} is all in the store, and is not believed: ${answer}`,
      );
      assert.equal(asked(laboratory), before, `${reference} is all in the store, and a registry is asked`);
    }
  }
}

const manifestsIn = ({ image }: Offer, needed: readonly Digest[]): readonly Digest[] =>
  needed.filter((digest) => image.manifests.has(digest));

/** How much the registries were asked for so far. */
const asked = ({ upstreams }: Laboratory): number =>
  [...upstreams.values()].reduce((sum, { requests }) => sum + requests.length, 0);

/** I4: whatever was fetched from a registry more than once was deleted meanwhile, or its copier was interrupted. */
function checkFetches({ laboratory, offers, losses, interruptions }: Schedule): void {
  for (const digest of new Set(offers.flatMap(({ image }) => [...image.blobs.keys()]))) {
    const reasons = 1 + (losses.deletions.get(digest) ?? 0) + interruptions.count;
    for (const [registry, upstream] of laboratory.upstreams) {
      const fetches = upstream.count({ kind: 'blob', method: 'GET', reference: digest });
      assert.ok(
        fetches <= reasons,
        `I4: ${digest} was fetched from ${registry} ${fetches} times, for ${reasons} reasons at most`,
      );
    }
  }
}
