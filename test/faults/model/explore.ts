import { below, pick, randomOf } from '../../support/random.ts';
import type { Guards } from './guards.ts';
import { advance, isIdle, isQuiet, settle, Violation, type Choice } from './machine.ts';
import { randomScenario, worldOf, type Scenario } from './scenarios.ts';
import { copyWorld, fingerprint, hasEnded, type World } from './world.ts';

/** What is wrong, and the shortest way, or the way of the seed, to it: `token kind step`. */
export interface Found {
  readonly problem: string;
  readonly trace: readonly string[];
  readonly seed?: number;
}

export interface Exploration {
  readonly states: number;
  readonly steps: number;
  /** Orders in which all can end; those that are one and the same from some state on are counted each. */
  readonly quiet: number;
  readonly found?: Found;
}

/** Faults that a search through all orders tries beside the steps themselves, and how many of each on one way. */
export type FaultBudget = Partial<Record<NonNullable<Choice['fault']>, number>>;

interface Node {
  readonly world: World;
  readonly parent: Node | undefined;
  readonly by: string;
  readonly budget: FaultBudget;
}

/**
 * Every state that any order of all steps leads to, breadth first, so that what is found comes by a shortest way. Each state without anything left to do is
 * settled, too.
 */
export function exploreAll(
  scenario: Scenario,
  guards: Guards,
  faults: FaultBudget = {},
  mostStates = 2_000_000,
): Exploration {
  const seen = new Set<number>();
  const count = { steps: 0, quiet: 0 };
  let frontier: Node[] = [{ world: worldOf(scenario, guards), parent: undefined, by: '', budget: faults }];
  while (frontier.length > 0) {
    const next: Node[] = [];
    for (const node of frontier) {
      const { children, problem } = expand(node, count);
      if (problem !== undefined) return { states: seen.size, ...count, found: problem };
      for (const child of children) {
        const hash = hashOf(fingerprint(child.world) + JSON.stringify(child.budget));
        if (seen.has(hash)) continue;
        if (seen.size === mostStates) throw new Error(`more than ${mostStates} states: make the scenario smaller`);
        seen.add(hash);
        next.push(child);
      }
    }
    frontier = next;
  }
  return { states: seen.size, ...count };
}

/** All that may happen next. A world without anything left to do is settled. */
function expand(node: Node, count: { steps: number; quiet: number }): { children: Node[]; problem?: Found } {
  const children: Node[] = [];
  for (const choice of choicesOf(node)) {
    const world = copyWorld(node.world);
    const { isDone, problem } = tryTo(() => advance(world, choice));
    if (isDone === false) continue;
    count.steps++;
    const child = { world, parent: node, by: describe(node.world, choice), budget: spend(node.budget, choice) };
    if (problem !== undefined) return { children, problem: { problem, trace: wayTo(child) } };
    children.push(child);
  }
  const isOver = isQuiet(node.world);
  if (isOver) count.quiet++;
  const { problem } = tryTo(() => {
    if (isOver) settle(copyWorld(node.world));
    else if (children.length === 0) throw new Violation('all wait for one another');
    return true;
  });
  return problem === undefined ? { children } : { children, problem: { problem, trace: wayTo(node) } };
}

function* choicesOf({ world, budget }: Node): Generator<Choice> {
  for (let actor = 0; actor < world.actors.length; actor++) {
    const me = world.actors[actor]!;
    if (hasEnded(me)) continue;
    if (!isIdle(world, me)) yield { actor };
    for (const fault of Object.keys(budget) as (keyof FaultBudget)[]) {
      if (budget[fault]! > 0 && canHappen(world, actor, fault)) yield { actor, fault };
    }
  }
}

const spend = (budget: FaultBudget, { fault }: Choice): FaultBudget =>
  fault === undefined ? budget : { ...budget, [fault]: budget[fault]! - 1 };

/** Steps of operators and events that were never taken have no answer that can be lost, and no process that dies. */
function canHappen(world: World, index: number, fault: NonNullable<Choice['fault']>): boolean {
  const { kind, step } = world.actors[index]!;
  if (kind === 'deleter' || kind === 'putter' || kind === 'mover') return false;
  if (fault.startsWith('late')) return step === 'ask';
  return fault === 'lapse' || step !== 'take';
}

function wayTo(node: Node): string[] {
  const way: string[] = [];
  for (let at = node; at.parent !== undefined; at = at.parent) way.unshift(at.by);
  return way;
}

function describe({ actors }: World, { actor, fault }: Choice): string {
  const { token, kind, step, vars } = actors[actor]!;
  const of = vars.digest === undefined || vars.digest === '' ? (vars.tag ?? '') : vars.digest;
  return `${token} ${kind} ${step} ${of}${fault === undefined ? '' : ` (${fault})`}`;
}

/** Whether it was done, or which invariant it broke. */
function tryTo(act: () => boolean): { readonly isDone?: boolean; readonly problem?: string } {
  try {
    return { isDone: act() };
  } catch (error) {
    if (error instanceof Violation) return { problem: error.message };
    throw error;
  }
}

/** 53 bits (cyrb53): among a million states the chance that two are taken for one is below one in ten thousand. */
function hashOf(text: string): number {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 2_654_435_761);
    b = Math.imul(b ^ code, 1_597_334_677);
  }
  a = Math.imul(a ^ (a >>> 16), 2_246_822_507) ^ Math.imul(b ^ (b >>> 13), 3_266_489_909);
  b = Math.imul(b ^ (b >>> 16), 2_246_822_507) ^ Math.imul(a ^ (a >>> 13), 3_266_489_909);
  return 4_294_967_296 * (2_097_151 & b) + (a >>> 0);
}

const FAULTS = ['kill', 'stop', 'lapse', 'lost', 'again', 'late-complete', 'late-shard', 'late-both'] as const;
const FAULT_CHANCE = 0.06;
const MOST_FAULTS = 4;
/** Far more than any schedule takes: whatever needs more goes round in circles. */
const MOST_STEPS = 3_000;

/** One schedule, as the seed has it: images, actors, order and faults. */
export function exploreSeed(seed: number, guards: Guards): Found | undefined {
  const { problem } = tryTo(() => runSeed(seed, guards));
  if (problem === undefined) return undefined;
  // The same once more, with a trace: writing one costs more than the steps themselves.
  const trace: string[] = [];
  tryTo(() => runSeed(seed, guards, trace));
  return { problem, trace, seed };
}

function runSeed(seed: number, guards: Guards, trace?: string[]): boolean {
  const random = randomOf(seed);
  // Actors that run on for a while find what alternating ones do not, and the other way round.
  const switchChance = pick(random, [0.1, 0.4, 1]);
  let faults = below(random, MOST_FAULTS + 1);
  const world = worldOf(randomScenario(random), guards);
  const alive = world.actors.map((_, index) => index);
  let at = below(random, alive.length);
  for (let steps = 0; !isQuiet(world); steps++) {
    if (steps === MOST_STEPS) throw new Violation('it does not come to an end');
    if (random() < switchChance) at = below(random, alive.length);
    const actor = alive[at]!;
    const fault = faults > 0 && random() < FAULT_CHANCE ? pick(random, FAULTS) : undefined;
    const choice: Choice = fault !== undefined && canHappen(world, actor, fault) ? { actor, fault } : { actor };
    trace?.push(describe(world, choice));
    if (advance(world, choice)) {
      if (choice.fault !== undefined) faults--;
    } else {
      trace?.pop();
      at = below(random, alive.length);
    }
    if (!hasEnded(world.actors[actor]!)) continue;
    alive.splice(alive.indexOf(actor), 1);
    at = below(random, alive.length);
  }
  trace?.push('all is quiet');
  settle(world);
  return true;
}

export interface SeedExploration {
  readonly schedules: number;
  readonly found?: Found;
}

/** Schedules by the seeds from `first` on, until one finds something. */
export function exploreSeeds(first: number, schedules: number, guards: Guards): SeedExploration {
  for (let i = 0; i < schedules; i++) {
    const found = exploreSeed(first + i, guards);
    if (found !== undefined) return { schedules: i + 1, found };
  }
  return { schedules };
}
