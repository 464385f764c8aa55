import { LRUCache } from 'lru-cache';
import { newPermits, type Permits } from '../async/parallel.ts';
import { SingleFlight } from '../async/single-flight.ts';
import type { Link } from '../catalog/catalog.ts';
import type { CatalogReads } from '../catalog/ports.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { PullRecords } from '../jobs/pull-record.ts';
import type { Digest } from '../oci/digest.ts';
import type { PullDeps } from '../pull/pull-request.ts';
import { formatRepository, type Reference, type Repository } from '../reference/reference.ts';
import type { ContentStore, Presigner } from '../store/content-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import type { SizeAnswer } from './blob-alone.ts';
import { breakers, type Subject } from './breakers.ts';
import type { StoredManifest, Fetcher } from './fetcher.ts';
import { freshnessOf } from './freshness.ts';
import type { Sent } from './gone.ts';
import type { TagList } from './lists.ts';
import { type Freshness, type ServePatience, type ServeSettings, USUAL_PATIENCE } from './settings.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** What serving works with. Parts that a hit does not need are loaded at their first use. */
export interface ServeDeps extends Pick<PullDeps, 'leases' | 'limits' | 'defaultPlatforms' | 'requireAllowed'> {
  /** Reads alone: serving writes through `fetcher`. */
  readonly catalog: CatalogReads;
  readonly store: Pick<ContentStore, 'find' | 'read'>;
  readonly fetcher: Fetcher;
  readonly waitingRoom: WaitingRoom;
  readonly settings: Omit<ServeSettings, 'auth' | 'front'>;
  readonly jobs: Jobs;
  readonly records: Pick<PullRecords, 'find' | 'findFailed'>;
  readonly presigner: Presigner;
  /** Hosts that clients may be redirected to for blobs of a registry, by its canonical name. */
  readonly passRedirects: (registry: string) => readonly string[];
  /** By default {@link USUAL_PATIENCE}. */
  readonly patience?: ServePatience;
}

/** One request of a client, from its arrival to its answer. */
export interface ServeCall {
  /** Aborts with a DeadlineError while there is still time to answer. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Of manifests in memory. */
const MANIFEST_BYTES = 64 * 1024 * 1024;
const MOST_LINKS = 50_000;
const MOST_UNKNOWN_SUBJECTS = 10_000;
const MOST_SENT = 20_000;
const MOST_SIZES = 10_000;
/** Of all lists of tags in memory. */
const MOST_LISTED_TAGS = 500_000;
/** At the same time, about random digests that clients may ask for. */
const MOST_QUESTIONS = 8;

/** What one process remembers while it serves. All of it may be forgotten at any time. */
export interface Serving {
  readonly deps: ServeDeps;
  readonly patience: ServePatience;
  readonly freshness: (reference: Reference) => Freshness;
  /** Bytes of manifests, by digest: they never change. */
  readonly manifests: LRUCache<string, Uint8Array>;
  /** Links of manifests whose content is stored, by repository and digest: links are never removed. */
  readonly links: LRUCache<string, Link>;
  /**
   * Subjects that no one pulled and nothing refers to, by repository and digest: when that was asked, epoch milliseconds. Not in the table, because clients
   * could fill it with random digests.
   */
  readonly unknownSubjects: LRUCache<string, number>;
  /** Content that clients were redirected to the store for, by digest. */
  readonly sent: LRUCache<string, Sent>;
  /** Sizes of blobs that no manifest here names, by repository and digest, as their registry declares them. Not in the table either. */
  readonly blobSizes: LRUCache<string, SizeAnswer>;
  /** Lists of tags, by repository. */
  readonly tagLists: LRUCache<string, TagList>;
  /** For questions to registries about manifests that no one pulled. */
  readonly subjectQuestions: Permits;
  /** For questions about blobs that no manifest here names: one pool for each registry, so that a slow registry does not block the others. */
  readonly blobQuestions: (registry: string) => Permits;
  /** One run of the same work for all concurrent callers; it goes on when one of them leaves. */
  readonly share: <T>(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
  /** Whether {@link share} is running that work. */
  readonly isShared: (key: string) => boolean;
  /**
   * Asks the registry of the repository.
   *
   * @throws RateLimitedError, UpstreamUnavailableError at once while the circuit is open ({@link Breakers}).
   */
  readonly ask: <T>(subject: Subject, question: (fetcher: Fetcher) => Promise<T>) => Promise<T>;
  /** Throws what {@link ask} would while the circuit is open, so that no caller waits for a lock in vain. */
  readonly requireClosed: (subject: Subject) => void;
  /** Keeps the bytes of a manifest that this process fetched. */
  readonly remember: (manifest: StoredManifest) => void;
}

export function serving(deps: ServeDeps): Serving {
  const flights = new SingleFlight<unknown>();
  const breaking = breakers();
  const patience = deps.patience ?? USUAL_PATIENCE;
  const blobQuestions = new Map<string, Permits>();
  const manifests = new LRUCache<string, Uint8Array>({
    maxSize: MANIFEST_BYTES,
    sizeCalculation: ({ byteLength }) => Math.max(1, byteLength),
  });

  return {
    deps,
    patience,
    freshness: freshnessOf(deps.settings.freshness),
    manifests,
    links: new LRUCache({ max: MOST_LINKS }),
    unknownSubjects: new LRUCache({ max: MOST_UNKNOWN_SUBJECTS }),
    sent: new LRUCache({ max: MOST_SENT }),
    blobSizes: new LRUCache({ max: MOST_SIZES }),
    tagLists: new LRUCache<string, TagList>({
      maxSize: MOST_LISTED_TAGS,
      sizeCalculation: ({ tags }) => tags.length + 1,
    }),
    subjectQuestions: newPermits(MOST_QUESTIONS),

    blobQuestions(registry) {
      // Bounded: only registries of the configuration are asked.
      const permits = blobQuestions.get(registry) ?? newPermits(MOST_QUESTIONS);
      blobQuestions.set(registry, permits);
      return permits;
    },

    async share<T>(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
      // The same key is always the same work.
      return (await flights.run(key, signal, work)) as T;
    },

    isShared: (key) => flights.isRunning(key),

    requireClosed: (subject) => breaking.check(subject),

    async ask(subject, question) {
      breaking.check(subject);
      const startedMs = performance.now();
      try {
        const answer = await question(deps.fetcher);
        breaking.answered(subject);
        return answer;
      } catch (error) {
        breaking.failed(subject, error, performance.now() - startedMs > patience.slowMs);
        throw error;
      }
    },

    remember({ descriptor: { digest }, bytes }) {
      if (bytes !== undefined) manifests.set(digest, bytes);
    },
  };
}

export const contentKey = (repository: Repository, digest: Digest): string =>
  `${formatRepository(repository)}@${digest}`;
