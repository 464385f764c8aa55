import { HeadObjectCommand, NotFound } from '@aws-sdk/client-s3';
import type { Digest } from '../../../lib/oci/digest.ts';
import { isIndexType } from '../../../lib/oci/media-type.ts';
import { below, pick } from '../../support/random.ts';
import { multiArchImage, noiseImage, noiseLayer, upstreamImage, type Image } from '../../support/images.ts';
import { keyOf, PRIVATE_REGISTRY, REGISTRY, type Laboratory } from './laboratory.ts';

/** An image, and what each of its platforms needs: its root, the platform's manifest, its blobs. */
export interface Offer {
  readonly image: Image;
  readonly platforms: ReadonlyMap<string, readonly Digest[]>;
}

/** What one schedule is about: references of its own, whose images share layers, and what is known of them so far. */
export interface Schedule {
  readonly laboratory: Laboratory;
  readonly random: () => number;
  readonly offers: readonly Offer[];
  readonly tags: readonly Tag[];
  /** Every content of the images. */
  readonly bytes: ReadonlyMap<Digest, Uint8Array>;
  /** The content that most of those are about who delete. */
  readonly focus: Digest;
  /** Deletions that were announced and are not known to be handled. */
  readonly announced: Digest[];
  readonly losses: Losses;
  /** What may have cost a copy its work, beside deletions: faults, stops, failures, jumps of the clock. */
  readonly interruptions: { count: number };
  /** Whether reads may be from before what everybody knows. */
  readonly isLate: { value: boolean };
  /** Processes that were started to be killed. */
  readonly victims: { count: number };
  /** Settles when only those act who wait for others. */
  readonly quiet: PromiseWithResolvers<readonly Digest[]>;
  /** What happened, for whoever has to understand a failure. */
  readonly notes: string[];
  readonly note: (text: string) => void;
  /** Something that must never be. */
  readonly violations: string[];
}

export interface Tag {
  readonly reference: string;
  readonly registry: string;
  readonly repository: string;
  readonly name: string;
  /** All that the tag has meant at the registry; last what it means now. */
  readonly meant: Offer[];
}

/** By content. */
export interface Losses {
  readonly deletions: Map<Digest, number>;
  /** How many deletions there had been when its loss was recorded last. */
  readonly recorded: Map<Digest, number>;
}

/** The chance of one who acts to be about the tag and the content that the others are about. */
const FOCUS = 0.6;

const PLATFORMS = ['linux/amd64', 'linux/arm64'];

export function newSchedule(laboratory: Laboratory, seed: number, random: () => number): Schedule {
  const name = `seed-${seed}`;
  const base = noiseLayer(700, `${name}/base`);
  const offers = [
    offerOf(multiArchImage({ name: `${name}/one`, layerBytes: [300], sharedLayers: [base] })),
    offerOf(multiArchImage({ name: `${name}/two`, layerBytes: [], sharedLayers: [base] })),
    offerOf(noiseImage({ name: `${name}/solo`, layerBytes: [500], sharedLayers: [base] })),
  ];
  const started = performance.now();
  const notes: string[] = [];
  const tags = [
    [REGISTRY, 'a', 'v1'],
    [REGISTRY, 'a', 'v2'],
    [PRIVATE_REGISTRY, 'b', 'v1'],
  ].map(([registry, path, tag]): Tag => {
    const repository = `${name}/${path!}`;
    const first = path === 'a' ? offers[0]! : pick(random, offers);
    const reference = `${registry!}/${repository}:${tag!}`;
    return { reference, registry: registry!, repository, name: tag!, meant: [first] };
  });
  for (const { registry, repository, name: tag, meant } of tags) {
    const upstream = laboratory.upstreams.get(registry)!;
    for (const { image } of offers) upstream.addImage(repository, upstreamImage(image));
    upstream.addImage(repository, upstreamImage(meant[0]!.image, tag));
  }
  return {
    laboratory,
    random,
    offers,
    tags,
    bytes: new Map(offers.flatMap(({ image }) => [...manifestsOf(image), ...image.blobs])),
    focus: pick(random, [...manifestsOf(offers[0]!.image).map(([digest]) => digest), ...offers[0]!.image.blobs.keys()]),
    announced: [],
    losses: { deletions: new Map(), recorded: new Map() },
    interruptions: { count: 0 },
    isLate: { value: false },
    victims: { count: 0 },
    quiet: Promise.withResolvers(),
    notes,
    note: (text) => void notes.push(`${(performance.now() - started).toFixed(0)} ms  ${text}`),
    violations: [],
  };
}

const manifestsOf = (image: Image): [Digest, Uint8Array][] =>
  [...image.manifests].map(([digest, { bytes }]) => [digest, bytes]);

function offerOf(image: Image & { readonly children?: ReadonlyMap<string, Image> }): Offer {
  const root = image.root.digest;
  if (!isIndexType(image.root.mediaType))
    return { image, platforms: new Map([['linux/amd64', [root, ...image.blobs.keys()]]]) };
  const children = [...image.children!].map(
    ([platform, child]) => [platform, [root, child.root.digest, ...child.blobs.keys()]] as const,
  );
  return { image, platforms: new Map(children) };
}

/** One platform that each thing the tag ever meant has, or all. */
export function somePlatforms({ random }: Schedule, { meant }: Tag): readonly string[] {
  const common = PLATFORMS.filter((platform) => meant.every(({ platforms }) => platforms.has(platform)));
  return random() < 0.4 ? [] : [pick(random, common)];
}

/** Mostly the same one: only those meet who are about the same. */
export const someTag = ({ random, tags }: Schedule): Tag => (random() < FOCUS ? tags[0]! : pick(random, tags));

/** Something that one of the tags needs, or needed; mostly the same. */
export function someContent({ random, tags, focus }: Schedule): Digest {
  if (random() < FOCUS) return focus;
  const { image } = pick(random, pick(random, tags).meant);
  return pick(random, [...image.manifests.keys(), ...image.blobs.keys()]);
}

/** Some time; or, by the chance that is given, when somebody stands still: then with what that one is about to write of. Ends when nobody else acts. */
export async function moment(
  { laboratory, random, quiet }: Schedule,
  mostMs: number,
  ofReaction: number,
): Promise<readonly Digest[]> {
  if (random() < ofReaction) return await Promise.race([laboratory.standstills.next(), quiet.promise]);
  await pause(random, mostMs);
  return [];
}

/** A tag that needs some of the content, if any does. */
export function tagNeeding(schedule: Schedule, about: readonly Digest[]): Tag {
  const needs = ({ platforms }: Offer): boolean =>
    [...platforms.values()].some((all) => all.some((one) => about.includes(one)));
  const tags = schedule.tags.filter(({ meant }) => needs(meant.at(-1)!));
  return tags.length === 0 ? someTag(schedule) : pick(schedule.random, tags);
}

/** Something that the content, or the platforms of which it is, need. */
export function somethingFor({ random, offers }: Schedule, digest: Digest): Digest {
  const sets = offers.flatMap(({ platforms }) => [...platforms.values()]).filter((needed) => needed.includes(digest));
  return random() < 0.7 || sets.length === 0 ? digest : pick(random, pick(random, sets));
}

export const pause = (random: () => number, mostMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, below(random, mostMs)));

/** Whether the bucket has the content at this moment. */
export async function isStored({ s3, stack }: Laboratory, digest: Digest): Promise<boolean> {
  try {
    await s3.send(new HeadObjectCommand({ Bucket: stack.bucket, Key: keyOf(digest) }));
    return true;
  } catch (error) {
    if (error instanceof NotFound) return false;
    throw error;
  }
}
