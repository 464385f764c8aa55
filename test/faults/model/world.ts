/*
 * What the model of the completeness protocol is about: a table, a bucket, a queue of deletion events, and the actors that use them. Plain data, so that
 * a world can be copied, compared and replayed. There is no clock: a lease lapses, an event arrives, a process dies when the explorer says so.
 */
import type { Guards } from './guards.ts';

/** A short name in place of a SHA-256. Content with the same name has the same bytes and so the same ETag. */
export type Digest = string;
export type Tag = string;

/** BLOB. A row without state writes, made by a claim alone, has commit 0. */
export interface Row {
  state: 'present' | 'absent';
  /** New at every write of the state: no two writes share one. */
  commit: number;
  /** Of the object that was there when the row was written as present. */
  etag: string;
  /** Token of the actor that has claimed the blob; 0 for no one. */
  holder: number;
}

/** The row beside ROOT: which children were seen complete, and the epoch at which all of them were. */
export interface Completeness {
  stamp: number;
  set: Digest[];
}

/** A deletion that S3 has announced and no one has acknowledged yet. */
export interface DeletionEvent {
  digest: Digest;
  /** Token of the finder that works on it; 0 while it waits in the queue. */
  taken: number;
}

/** The images: never changed while a schedule runs. */
export interface Images {
  /** The configs and layers of each manifest; an index has none. */
  readonly blobs: Readonly<Record<Digest, readonly Digest[]>>;
  /** The manifests below each root by platform; an image that is no index has itself. */
  readonly platforms: Readonly<Record<Digest, Readonly<Record<string, Digest>>>>;
}

export interface Vars {
  tag?: Tag;
  platforms?: readonly string[];
  /** What the registry said that the tag means, asked under the lock. */
  root?: Digest;
  /** Children that this actor wants to see complete: the root itself and the manifests of its platforms. */
  wanted?: Digest[];
  needed?: Digest[];
  index?: number;
  missing?: Digest[];
  /** Epoch of the root's shard. */
  epoch?: number;
  seenComplete?: Completeness | undefined;
  /** What the set was when this actor read it first. */
  firstSet?: readonly Digest[];
  /** Nothing of the root was missing by its date: no row was read. */
  known?: boolean;
  /** The manifests were read from the store: a pull does so once. */
  planned?: boolean;
  digest?: Digest;
  /** The commit that was read before the store was asked. */
  seen?: number;
  seenState?: Row['state'];
  seenEtag?: string;
  /** Whether someone had claimed the row when it was read. */
  seenClaimed?: boolean;
  storeEtag?: string;
  /** A PUT of this actor was answered 200 and its row is not written yet. */
  put?: boolean;
  bytes?: 'good' | 'bad';
  answer?: 'complete' | 'incomplete';
}

export type ActorKind = 'pull' | 'hit' | 'finder' | 'proof' | 'adopter' | 'remover' | 'deleter' | 'putter' | 'mover';

export interface Actor {
  readonly kind: ActorKind;
  /** Unique; fences leases as a holder's uuid does. */
  readonly token: number;
  step: string;
  vars: Vars;
}

export interface World {
  readonly images: Images;
  readonly guards: Guards;
  rows: Record<Digest, Row>;
  complete: Record<Digest, Completeness>;
  shards: number[];
  /** CHILD: the manifests whose needs are written down. */
  children: Record<Digest, true>;
  tags: Record<Tag, Digest>;
  locks: Record<Tag, number>;
  /** ETag of each object: the digest itself, or `bad` for other bytes under its name. */
  bucket: Record<Digest, string>;
  events: DeletionEvent[];
  /** What each tag means at the registry. */
  registry: Record<Tag, Digest>;
  actors: Actor[];
  nextCommit: number;
  /** For the checker alone: objects whose row was written since they were put. */
  settled: Record<Digest, true>;
  /** For the checker alone: which children each tag was published with. */
  published: Record<Tag, Digest[]>;
  /** For late reads: the value before the last change. */
  earlier: { complete: Record<Digest, Completeness | undefined>; shards: number[] };
}

export const END = 'end';
export const KILLED = 'killed';
export const BAD_ETAG = 'bad';

export const hasEnded = ({ step }: Actor): boolean => step === END || step === KILLED;

export function newWorld(images: Images, guards: Guards, registry: Record<Tag, Digest>): World {
  return {
    images,
    guards,
    rows: {},
    complete: {},
    shards: [1, 1],
    children: {},
    tags: {},
    locks: {},
    bucket: {},
    events: [],
    registry: { ...registry },
    actors: [],
    nextCommit: 1,
    settled: {},
    published: {},
    earlier: { complete: {}, shards: [1, 1] },
  };
}

/** A copy that shares nothing that changes. */
export function copyWorld(world: World): World {
  return {
    ...(copy({ ...world, images: undefined, guards: undefined }) as World),
    images: world.images,
    guards: world.guards,
  };
}

function copy(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copy);
  const result: Record<string, unknown> = {};
  for (const key in value) result[key] = copy((value as Record<string, unknown>)[key]);
  return result;
}

/** Which of the shards a root's epoch is read from: the two roots of a scenario have different ones. */
export const shardOf = (world: World, root: Digest): number => root.charCodeAt(root.length - 1) % world.shards.length;

/** What the child of a root needs: itself, and its blobs. */
export const needsOf = (images: Images, child: Digest): readonly Digest[] => [child, ...(images.blobs[child] ?? [])];

export function wantedOf(images: Images, root: Digest, platforms: readonly string[]): Digest[] {
  const manifests = platforms.map((platform) => images.platforms[root]![platform]!);
  return [...new Set([root, ...manifests])].sort();
}

/** All that the children need, each digest once: manifests last, as a pull stores them. */
export function neededBy(images: Images, children: readonly Digest[]): Digest[] {
  const all = new Set(children.flatMap((child) => images.blobs[child] ?? []));
  for (const child of [...children].reverse()) all.add(child);
  return [...all];
}

export const isManifest = (images: Images, digest: Digest): boolean => images.blobs[digest] !== undefined;

/**
 * The same for worlds that cannot be told apart by what happens next: commits are renamed in the order in which they appear, because only their equality
 * matters.
 */
export function fingerprint(world: World): string {
  const names = new Map<number, number>([[0, 0]]);
  const name = (commit: number): number => {
    const known = names.get(commit);
    if (known !== undefined) return known;
    names.set(commit, names.size);
    return names.size - 1;
  };
  const { rows, complete, shards, children, tags, locks, bucket, events, registry, actors, settled, published } = world;
  const renamed = keysOf(rows).map((digest) => {
    const row = rows[digest]!;
    return `${digest}${row.state}${name(row.commit)},${row.etag},${row.holder}`;
  });
  const parts: unknown[] = [renamed, shards];
  for (const record of [complete, children, tags, locks, bucket, registry, settled, published]) {
    parts.push(keysOf(record).map((key) => [key, (record as Record<string, unknown>)[key]]));
  }
  parts.push(events.map(({ digest, taken }) => `${digest}${taken}`).sort());
  for (const { step, vars } of actors) {
    const seen = vars.seen === undefined ? undefined : name(vars.seen);
    parts.push(hasEnded({ step } as Actor) ? [step, vars.answer] : [step, { ...vars, seen }]);
  }
  return JSON.stringify(parts);
}

const keysOf = (record: object): string[] => Object.keys(record).sort();
