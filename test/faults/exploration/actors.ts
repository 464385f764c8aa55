import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { startDeadline } from '../../../lib/async/time.ts';
import { CacheError } from '../../../lib/errors/cache-error.ts';
import { contentDeleted } from '../../../lib/events/content-deleted.ts';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parsePlatform } from '../../../lib/oci/platform.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { removeTag } from '../../../lib/images/remove-tag.ts';
import { rebuild } from '../../../lib/repair/rebuild.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import type { TestCache } from '../../support/cache.ts';
import { upstreamImage } from '../../support/images.ts';
import { below, pick } from '../../support/random.ts';
import { objectDeleted } from '../../support/s3-event.ts';
import { keyOf } from './laboratory.ts';
import {
  isStored,
  moment,
  pause,
  someContent,
  somePlatforms,
  somethingFor,
  someTag,
  tagNeeding,
  type Offer,
  type Schedule,
  type Tag,
} from './schedule.ts';
import { pullByWorkflow } from './workflow.ts';

/** Does its part of a schedule once. */
export type Actor = (schedule: Schedule) => Promise<void>;

/** Longer than anything in a schedule takes; what is not done by then hangs. */
const LONG_MS = 20_000;
const SHORT_MS = 120;
/** A cold pull of a process that was just started takes about so long. */
const LONGEST_BEFORE_KILL_MS = 500;
const TRUE_NOW = Date.now;

const someCache = ({ laboratory, random }: Schedule): TestCache => pick(random, laboratory.caches);

/** What must be possible again later: a failure that says so is none. Anything else is a violation. */
async function forgiving(schedule: Schedule, what: string, act: () => Promise<string>): Promise<void> {
  try {
    schedule.note(`${what}: ${await act()}`);
  } catch (error) {
    schedule.note(`${what}: ${String(error)}`);
    schedule.interruptions.count++;
    if (error instanceof CacheError && error.retryable) return;
    schedule.violations.push(
      `${what} failed for good: ${error instanceof Error ? (error.stack ?? '') : String(error)}`,
    );
  }
}

async function pullBy(
  schedule: Schedule,
  withinMs: number,
  how: { readonly alwaysPull?: boolean; readonly tag?: Tag },
): Promise<void> {
  const { random, laboratory, losses } = schedule;
  const { tag = someTag(schedule), ...options } = how;
  const platforms = somePlatforms(schedule, tag);
  const cache = someCache(schedule);
  const name = `pull ${tag.reference} ${platforms.join()}${options.alwaysPull === true ? ' always' : ''}`;
  await pause(random, 250);
  const recorded = new Map(losses.recorded);
  const deletions = new Map(losses.deletions);
  await forgiving(schedule, name, async () => {
    using deadline = startDeadline(withinMs);
    const receipt = await cache.pull(tag.reference, { ...options, platforms, deadline: deadline.signal });
    if (receipt.outcome === 'partial') {
      schedule.interruptions.count++;
      return 'partial';
    }
    const offer = offerOf(schedule, name, tag, receipt);
    if (offer === undefined) return 'wrong';
    // I2 at a hit: a loss that was recorded before it began, and not made good since, is no hit.
    if (schedule.isLate.value) return receipt.outcome;
    const needed = [...offer.platforms].filter(([one]) => platforms.length === 0 || platforms.includes(one));
    for (const digest of new Set(needed.flatMap(([, digests]) => digests))) {
      const before = deletions.get(digest) ?? 0;
      if (receipt.outcome !== 'hit' || recorded.get(digest) !== before || (await isStored(laboratory, digest)))
        continue;
      if (losses.deletions.get(digest) !== before) continue;
      schedule.violations.push(`I2: ${name} is a hit, but the loss of ${digest} was recorded before it began`);
    }
    return receipt.outcome;
  });
}

function offerOf({ violations }: Schedule, name: string, { meant }: Tag, { digest }: Receipt): Offer | undefined {
  const offer = meant.find(({ image }) => image.root.digest === digest);
  if (offer === undefined) violations.push(`I3: ${name} gave ${String(digest)}, which the tag never meant`);
  return offer;
}

/** Tells the product of one announced deletion. False if it has to be told again. */
export async function deliver(schedule: Schedule, cache: TestCache, digest: Digest): Promise<boolean> {
  const { stack } = schedule.laboratory;
  const deletions = schedule.losses.deletions.get(digest) ?? 0;
  let isDone = false;
  await forgiving(schedule, `deletion of ${digest} is delivered`, async () => {
    using deadline = startDeadline(LONG_MS);
    const { catalog, store } = cache.services;
    const deps = { catalog, store, bucket: stack.bucket };
    const message = { id: digest, body: JSON.stringify(objectDeleted(stack.bucket, keyOf(digest))) };
    const answer = await contentDeleted(deps, [message], deadline.signal);
    isDone = true;
    if (answer.lost.length > 0) schedule.losses.recorded.set(digest, deletions);
    return JSON.stringify(answer);
  });
  return isDone;
}

async function loseSomething(schedule: Schedule): Promise<void> {
  const { random, laboratory, losses, announced } = schedule;
  const about = await moment(schedule, 250, 0.7);
  const digest =
    about.length === 0 || random() < 0.2 ? someContent(schedule) : somethingFor(schedule, pick(random, about));
  if (!(await isStored(laboratory, digest))) return;
  // Before it happens: who finds it gone shall not take it for an earlier one.
  losses.deletions.set(digest, (losses.deletions.get(digest) ?? 0) + 1);
  await laboratory.s3.send(new DeleteObjectCommand({ Bucket: laboratory.stack.bucket, Key: keyOf(digest) }));
  announced.push(digest);
  schedule.note(`${digest} is deleted`);
  if (random() < 0.3) return;
  const finders = [laboratory.finder, ...laboratory.caches].slice(0, random() < 0.5 ? 1 : 2);
  for (let isAgain = true; isAgain; isAgain = random() < 0.4) {
    const delivered = await Promise.all(finders.map((finder) => deliver(schedule, finder, digest)));
    const event = announced.indexOf(digest);
    if (delivered.includes(true) && random() < 0.7 && event >= 0) announced.splice(event, 1);
  }
  if (random() < 0.3) await putBack(schedule, digest);
}

/** As an operator does who has a copy: a conditional PUT, and no row. */
async function putBack({ laboratory, bytes, note }: Schedule, digest: Digest): Promise<void> {
  if (await isStored(laboratory, digest)) return;
  const object = { Bucket: laboratory.stack.bucket, Key: keyOf(digest), Body: bytes.get(digest)! };
  await forgivePrecondition(() => laboratory.s3.send(new PutObjectCommand({ ...object, IfNoneMatch: '*' })));
  note(`${digest} is put back`);
}

/** The clocks are right again. */
export function setClocksRight(): void {
  Date.now = TRUE_NOW;
}

async function remove(schedule: Schedule, tag: Tag): Promise<void> {
  const { refs, leases } = { ...someCache(schedule).services.pull };
  const { catalog } = someCache(schedule).services;
  await forgiving(schedule, `remove ${tag.reference}`, async () => {
    using deadline = startDeadline(LONG_MS);
    return String(await removeTag({ catalog, leases, refs }, parseReference(tag.reference), deadline.signal));
  });
}

/** Everyone who acts in schedules, by name. */
export const ACTORS = {
  pull: (schedule) => pullBy(schedule, LONG_MS, {}),

  alwaysPull: (schedule) => pullBy(schedule, LONG_MS, { alwaysPull: true }),

  /** While somebody else stands still. */
  follower: async (schedule) => {
    const tag = tagNeeding(schedule, await moment(schedule, 250, 0.8));
    await pullBy(schedule, LONG_MS, { tag });
  },

  /** By the tasks of the state machine. */
  async workflowPull(schedule) {
    const { random } = schedule;
    const tag = someTag(schedule);
    const platforms = somePlatforms(schedule, tag);
    const name = `workflow of ${tag.reference} ${platforms.join()}`;
    await pause(random, 250);
    await forgiving(schedule, name, async () => {
      using deadline = startDeadline(LONG_MS);
      const request = {
        reference: parseReference(tag.reference),
        platforms: platforms.map((text) => parsePlatform(text)),
        ...{ alwaysPull: random() < 0.3, attestations: true },
      };
      const { services } = someCache(schedule);
      const record = await pullByWorkflow(services, request, random, deadline.signal);
      // Its copies are told to stop at random moments, and it plans again.
      schedule.interruptions.count++;
      if (record === undefined) return 'another one is under way';
      const { receipt, failure } = record;
      if (receipt !== undefined) offerOf(schedule, name, tag, receipt);
      else if (failure?.retryable !== true)
        schedule.violations.push(`${name} failed for good: ${failure?.message ?? ''}`);
      return receipt?.outcome ?? String(failure?.message);
    });
  },

  /** Ends as a killed process does for everyone else, but that it frees its leases. */
  stoppedPull: (schedule) => pullBy(schedule, 1 + below(schedule.random, SHORT_MS), {}),

  /** A process that is killed in the middle; one in a schedule at most. */
  async killedPull(schedule) {
    const { random, laboratory, victims } = schedule;
    if (victims.count++ > 0) return;
    const tag = someTag(schedule);
    const platforms = somePlatforms(schedule, tag);
    await using victim = await laboratory.victim();
    const pulling = victim.pull({ reference: tag.reference, platforms });
    await pause(random, LONGEST_BEFORE_KILL_MS);
    await victim.kill();
    const [answer] = await pulling;
    schedule.interruptions.count++;
    schedule.note(
      `pull ${tag.reference} ${platforms.join()} of a process: ${answer === undefined ? 'killed' : 'done'}`,
    );
  },

  async mover(schedule) {
    const { random, tags, offers, laboratory } = schedule;
    await pause(random, 80);
    const tag = pick(random, tags);
    // A pull that is under way may want any platform that the tag had.
    const offer = pick(
      random,
      offers.filter(({ platforms }) => platforms.size > 1),
    );
    tag.meant.push(offer);
    laboratory.upstreams.get(tag.registry)!.addImage(tag.repository, upstreamImage(offer.image, tag.name));
    schedule.note(`${tag.reference} means ${offer.image.root.digest} at the registry`);
  },

  /** At any time, or while somebody stands still; and tells of it at once, perhaps two processes. */
  async deleter(schedule) {
    for (let times = 1 + below(schedule.random, 3); times > 0; times--) await loseSomething(schedule);
  },

  /** Tells of deletions late, and of some of them twice. */
  async notifier(schedule) {
    const { random, announced } = schedule;
    for (let looks = 0; looks < 4; looks++) {
      await pause(random, 80);
      const digest = announced[0];
      if (digest === undefined) continue;
      const isDone = await deliver(schedule, schedule.laboratory.finder, digest);
      if (isDone && random() < 0.7 && announced[0] === digest) announced.shift();
    }
  },

  async putterBack(schedule) {
    const { random, losses } = schedule;
    await pause(random, 200);
    const gone = [...losses.deletions.keys()];
    if (gone.length > 0) await putBack(schedule, pick(random, gone));
  },

  async validator(schedule) {
    const { random } = schedule;
    const tag = tagNeeding(schedule, await moment(schedule, 120, 0.6));
    await pause(random, 250);
    const deep = random() < 0.5;
    const platforms = somePlatforms(schedule, tag);
    await forgiving(schedule, `validate ${tag.reference} ${platforms.join()}`, async () => {
      return (await someCache(schedule).validate(tag.reference, { platforms, deep })).state;
    });
  },

  async remover(schedule) {
    await pause(schedule.random, 120);
    await remove(schedule, pick(schedule.random, schedule.tags));
  },

  async rebuilder(schedule) {
    await pause(schedule.random, 120);
    const { catalog, store, pull, limits } = someCache(schedule).services;
    await forgiving(schedule, 'rebuild', async () => {
      using deadline = startDeadline(LONG_MS);
      const outcomes: string[] = [];
      const deps = { catalog, store, refs: pull.refs, leases: pull.leases, limits };
      for await (const { outcome } of rebuild(deps, deadline.signal)) outcomes.push(outcome);
      return outcomes.join();
    });
  },

  /** The clocks of all processes jump, by more than the skew that leases allow for; the schedule sets them right at its end. */
  async clock(schedule) {
    const { random } = schedule;
    await pause(random, 80);
    const jumpMs = (random() < 0.5 ? -1 : 1) * below(random, 10 * 60_000);
    Date.now = () => TRUE_NOW() + jumpMs;
    schedule.interruptions.count++;
    schedule.note(`the clock jumps by ${Math.round(jumpMs / 1000)} s`);
  },
} satisfies Record<string, Actor>;

export type ActorName = keyof typeof ACTORS;

/** These also wait for something that others do. */
export const REACTING: ReadonlySet<ActorName> = new Set(['deleter', 'follower', 'validator']);

/** Someone else put it there first, or is about to: S3 answers 412 or 409. */
async function forgivePrecondition(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
    if (status !== 412 && status !== 409) throw error;
  }
}
