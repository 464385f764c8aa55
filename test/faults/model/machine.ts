import { findViolation, mustBeHit } from './checker.ts';
import { firstLook, finderSteps } from './finder.ts';
import { hitSteps } from './hit.ts';
import { obtainSteps } from './obtain.ts';
import { pullSteps } from './pull.ts';
import { BLOCKED, type Step, type Turn } from './steps.ts';
import { BAD_ETAG, END, hasEnded, KILLED, type Actor, type ActorKind, type Vars, type World } from './world.ts';
import { deleteObject } from './writes.ts';

/** What happens next: one actor does one step, or something happens to it. */
export interface Choice {
  /** Index of the actor. */
  readonly actor: number;
  /**
   * `lost`: the step is done and its answer is lost, so it is done again. `kill`: it dies and its leases lapse. `stop`: its deadline passes, it frees its
   * leases and ends. `lapse`: its leases lapse while it goes on. `again`: the event it works on is delivered once more. `late…`: eventual reads see what was.
   */
  readonly fault?: 'lost' | 'kill' | 'stop' | 'lapse' | 'again' | 'late-complete' | 'late-shard' | 'late-both';
}

const operatorSteps: Readonly<Record<string, Step>> = {
  delete(world, me) {
    deleteObject(world, me.vars.digest!);
    return END;
  },
  /** The conditional PUT by which an operator puts something back; it writes no row. */
  putBack(world, me) {
    const digest = me.vars.digest!;
    world.bucket[digest] ??= me.vars.bytes === 'bad' ? BAD_ETAG : digest;
    return END;
  },
  move(world, me) {
    world.registry[me.vars.tag!] = me.vars.root!;
    return END;
  },
};

const STEPS: Readonly<Record<string, Step>> = {
  ...pullSteps,
  ...obtainSteps,
  ...hitSteps,
  ...finderSteps,
  ...operatorSteps,
};

const FIRST: Readonly<Record<ActorKind, (world: World, vars: Vars) => string>> = {
  pull: () => 'lock',
  hit: () => 'ask',
  finder: (world, { digest }) => (digest === undefined ? 'take' : firstLook(world)),
  proof: () => 'claim',
  adopter: () => 'seen',
  remover: () => 'lock',
  deleter: () => 'delete',
  putter: () => 'putBack',
  mover: () => 'move',
};

export function addActor(world: World, kind: ActorKind, vars: Vars): Actor {
  const actor = { kind, token: world.actors.length + 1, step: FIRST[kind](world, vars), vars: { ...vars } };
  world.actors.push(actor);
  return actor;
}

const IN_TIME: Turn['late'] = { complete: false, shard: false };

/** Changes the world by one step. False if the actor could do nothing; throws a Violation where an invariant is broken. */
export function advance(world: World, { actor: index, fault }: Choice): boolean {
  const me = world.actors[index]!;
  if (fault === 'kill' || fault === 'stop') {
    if (fault === 'stop') freeLeases(world, me.token);
    me.step = KILLED;
    for (const event of world.events) if (event.taken === me.token) event.taken = 0;
    return true;
  }
  if (fault === 'lapse') return freeLeases(world, me.token);
  if (fault === 'again') {
    if (me.kind !== 'finder' || me.vars.digest === undefined) return false;
    world.events.push({ digest: me.vars.digest, taken: 0 });
    return true;
  }
  const late =
    fault?.startsWith('late') === true
      ? { complete: fault !== 'late-shard', shard: fault !== 'late-complete' }
      : IN_TIME;
  const turn: Turn = { late };
  const before = fault === 'lost' ? { step: me.step, vars: structuredClone(me.vars) } : undefined;
  const next = STEPS[me.step]!(world, me, turn);
  if (next === BLOCKED) return false;
  me.step = next;
  if (before !== undefined && next !== END) Object.assign(me, before);
  const violation = turn.violation ?? findViolation(world);
  if (violation !== undefined) throw new Violation(violation);
  return true;
}

export class Violation extends Error {}

/** A finder without an event to take. */
export const isIdle = ({ events }: World, { step }: Actor): boolean =>
  step === 'take' && events.every(({ taken }) => taken !== 0);

/** All have ended but the finders, who wait for events; or there are events, and no finder lives. */
export const isQuiet = ({ actors, events }: World): boolean => {
  const isOver = events.length === 0 ? (actor: Actor) => hasEnded(actor) || actor.step === 'take' : hasEnded;
  return actors.every(isOver);
};

/**
 * What must follow once nothing disturbs any more: every event is delivered, every hit is right, and a pull of each tag succeeds and leaves rows and bucket
 * alike. Changes the world.
 *
 * @throws Violation
 */
export function settle(world: World): void {
  for (const actor of world.actors) if (!hasEnded(actor)) advance(world, { actor: actor.token - 1, fault: 'stop' });
  deliverAll(world);
  // Once, so that what is complete is dated; then one look must do for it.
  for (const round of ['first', 'second']) checkHits(world, round);
  for (const tag in world.registry) {
    const platforms = Object.keys(world.images.platforms[world.registry[tag]!]!);
    run(world, 'pull', { tag, platforms });
    const { vars } = run(world, 'hit', { tag, platforms });
    if (vars.answer !== 'complete') throw new Violation(`${tag} is no hit after it was pulled`);
    for (const digest of vars.needed!) {
      const etag = world.bucket[digest] ?? 'not there';
      if (etag !== digest) throw new Violation(`${digest} is ${etag} after ${tag} was pulled`);
    }
  }
}

/** Every tag for every platform that was published under it. */
function checkHits(world: World, round: string): void {
  for (const tag in world.published) {
    const root = world.tags[tag]!;
    for (const [platform, manifest] of Object.entries(world.images.platforms[root]!)) {
      if (!world.published[tag]!.includes(manifest)) continue;
      const { answer, epoch } = run(world, 'hit', { tag, platforms: [platform] }).vars;
      const expected = mustBeHit(world, [root, manifest]) ? 'complete' : 'incomplete';
      if (answer !== expected) {
        throw new Violation(`the hit of ${tag} for ${platform} answers ${answer}, not ${expected}`);
      }
      if (round === 'second' && answer === 'complete' && epoch !== undefined) {
        throw new Violation(`the date of ${tag} for ${platform} was forgotten, though nothing was lost`);
      }
    }
  }
}

function deliverAll(world: World): void {
  const finder = addActor(world, 'finder', {});
  while (world.events.length > 0) advance(world, { actor: finder.token - 1 });
  finder.step = END;
}

const MOST_STEPS = 500;

/** Runs one actor to its end, alone but for the events that it causes itself. */
export function run(world: World, kind: ActorKind, vars: Vars): Actor {
  const actor = addActor(world, kind, vars);
  for (let steps = 0; !hasEnded(actor); steps++) {
    if (steps === MOST_STEPS) throw new Violation(`a ${kind} that nothing disturbs does not come to its end`);
    if (!advance(world, { actor: actor.token - 1 })) throw new Violation(`a ${kind} waits at ${actor.step} for no one`);
  }
  deliverAll(world);
  return actor;
}

function freeLeases(world: World, token: number): boolean {
  let isAny = false;
  for (const tag in world.locks) {
    if (world.locks[tag] !== token) continue;
    world.locks[tag] = 0;
    isAny = true;
  }
  for (const digest in world.rows) {
    if (world.rows[digest]!.holder !== token) continue;
    world.rows[digest]!.holder = 0;
    isAny = true;
  }
  return isAny;
}
