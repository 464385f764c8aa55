import { below, pick } from '../../support/random.ts';
import type { Guards } from './guards.ts';
import { addActor, run } from './machine.ts';
import { newWorld, type ActorKind, type Images, type Vars, type World } from './world.ts';

/** One manifest, two blobs. */
const SINGLE: Images = { blobs: { m: ['a', 'b'] }, platforms: { m: { amd64: 'm' } } };

/** An index of two platforms that share a blob. */
const INDEX: Images = {
  blobs: { r: [], x: ['a', 's'], y: ['b', 's'] },
  platforms: { r: { amd64: 'x', arm64: 'y' } },
};

const THREE: Images = {
  blobs: { r: [], x: ['a'], y: ['b'], z: ['c'] },
  platforms: { r: { amd64: 'x', arm64: 'y', s390x: 'z' } },
};

/** Two indexes that share a child and a blob: what a tag moves between. */
const MOVING: Images = {
  blobs: { r: [], q: [], x: ['a', 's'], y: ['b', 's'], z: ['c', 's'] },
  platforms: { r: { amd64: 'x', arm64: 'y' }, q: { amd64: 'z', arm64: 'y' } },
};

const TEMPLATES = [
  { images: SINGLE, roots: ['m'] },
  { images: INDEX, roots: ['r'] },
  { images: THREE, roots: ['r'] },
  { images: MOVING, roots: ['r', 'q'] },
] as const;

const TAGS = ['t1', 't2'] as const;

export interface PlannedActor {
  readonly kind: ActorKind;
  readonly vars: Vars;
}

/** A world and those who are about to act in it. `before` ran to its end before they began. */
export interface Scenario {
  readonly images: Images;
  readonly registry: Readonly<Record<string, string>>;
  readonly before: readonly PlannedActor[];
  readonly actors: readonly PlannedActor[];
  /** All its orders take seconds: more than a developer should wait for each time. */
  readonly isLarge?: true;
}

export function worldOf({ images, registry, before, actors }: Scenario, guards: Guards): World {
  const world = newWorld(images, guards, registry);
  for (const { kind, vars } of before) run(world, kind, vars);
  world.actors = [];
  for (const { kind, vars } of actors) addActor(world, kind, vars);
  return world;
}

const amd64 = (tag: string): PlannedActor => ({ kind: 'pull', vars: { tag, platforms: ['amd64'] } });
const arm64 = (tag: string): PlannedActor => ({ kind: 'pull', vars: { tag, platforms: ['arm64'] } });
const deletion = (digest: string): PlannedActor => ({ kind: 'deleter', vars: { digest } });
const FINDER: PlannedActor = { kind: 'finder', vars: {} };

const oneTag = { images: SINGLE, registry: { t1: 'm' } };
const twoTags = { images: SINGLE, registry: { t1: 'm', t2: 'm' } };
const index = { images: INDEX, registry: { t1: 'r', t2: 'r' } };

/** Small enough that every order of all steps can be tried. The world is empty before, or the first tag is published. */
export const EXHAUSTIVE: Readonly<Record<string, Scenario>> = {
  'two pulls of an image that no one had, and a loss': {
    ...twoTags,
    before: [],
    actors: [amd64('t1'), amd64('t2'), deletion('a'), FINDER],
    isLarge: true,
  },
  'two pulls of an image that no one had, and the loss of its manifest': {
    ...twoTags,
    before: [],
    actors: [amd64('t1'), amd64('t2'), deletion('m'), FINDER],
    isLarge: true,
  },
  'two pulls, a loss and a publish of a known root': {
    ...twoTags,
    registry: { ...twoTags.registry, t3: 'm' },
    before: [amd64('t1')],
    actors: [amd64('t1'), amd64('t2'), amd64('t3'), deletion('a'), FINDER],
    isLarge: true,
  },
  'two publishes of other platforms and a shared loss': {
    ...index,
    before: [amd64('t1')],
    actors: [amd64('t1'), arm64('t2'), deletion('s'), FINDER],
  },
  'three platforms: one is lost while the two others are dated': {
    images: THREE,
    registry: { t1: 'r' },
    before: [{ kind: 'pull', vars: { tag: 't1', platforms: ['amd64', 'arm64', 's390x'] } }],
    actors: [arm64('t1'), { kind: 'hit', vars: { tag: 't1', platforms: ['s390x'] } }, deletion('a'), FINDER],
  },
  'a loss, a pull, a proof and one who puts back': {
    ...oneTag,
    before: [amd64('t1')],
    actors: [
      amd64('t1'),
      { kind: 'proof', vars: { digest: 'a' } },
      deletion('a'),
      { kind: 'putter', vars: { digest: 'a', bytes: 'good' } },
      FINDER,
    ],
    isLarge: true,
  },
  'the same content lost twice, put back and adopted': {
    ...oneTag,
    before: [amd64('t1')],
    actors: [
      { kind: 'adopter', vars: { digest: 'a' } },
      { kind: 'putter', vars: { digest: 'a', bytes: 'good' } },
      deletion('a'),
      deletion('a'),
      FINDER,
      FINDER,
      { kind: 'hit', vars: { tag: 't1', platforms: ['amd64'] } },
    ],
    isLarge: true,
  },
};

/** Images, and who does what, by chance. */
export function randomScenario(random: () => number): Scenario {
  const { images, roots } = pick(random, TEMPLATES);
  const digests = [...new Set(Object.entries(images.blobs).flat(2))];
  const registry = Object.fromEntries(TAGS.map((tag) => [tag, pick(random, roots)]));
  const platforms = (): string[] => pick(random, platformSets(images, roots[0]));
  const pull = (): PlannedActor => ({ kind: 'pull', vars: { tag: pick(random, TAGS), platforms: platforms() } });
  const digest = (): string => pick(random, digests);
  const several = (most: number, make: () => PlannedActor): PlannedActor[] =>
    Array.from({ length: below(random, most + 1) }, make);
  return {
    images,
    registry,
    before: several(2, pull),
    actors: [
      pull(),
      ...several(2, pull),
      ...several(1, () => ({ kind: 'hit', vars: { tag: pick(random, TAGS), platforms: platforms() } })),
      deletion(digest()),
      ...several(2, () => deletion(digest())),
      ...several(2, () => ({ kind: 'putter', vars: { digest: digest(), bytes: random() < 0.7 ? 'good' : 'bad' } })),
      ...several(1, () => ({ kind: 'adopter', vars: { digest: digest() } })),
      ...several(1, () => ({
        kind: 'proof',
        vars: {
          digest: pick(
            random,
            digests.filter((one) => images.blobs[one] === undefined),
          ),
        },
      })),
      ...several(1, () => ({ kind: 'finder', vars: { digest: digest() } })),
      ...several(1, () => ({ kind: 'remover', vars: { tag: pick(random, TAGS) } })),
      ...several(1, () => ({ kind: 'mover', vars: { tag: pick(random, TAGS), root: pick(random, roots) } })),
      FINDER,
      FINDER,
    ],
  };
}

const platformSets = (images: Images, root: string): string[][] => {
  const all = Object.keys(images.platforms[root]!);
  return [all, ...all.map((one) => [one])];
};
