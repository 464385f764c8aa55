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

/** What serving works with. What a hit does not need is loaded by its first use. */
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
  /** Hosts that clients may be sent to for blobs of a registry, by its canonical name. */
  readonly passRedirects: (registry: string) => readonly string[];
  /** The usual one where this does not say it. */
  readonly patience?: ServePatience;
}

/** One request of a client, from its arrival to its answer. */
export interface ServeCall {
  /** Aborts with a DeadlineError while there is still time to answer. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** Manifests in memory, by digest: they never change. */
const MANIFEST_BYTES = 64 * 1024 * 1024;
const MOST_LINKS = 50_000;
const MOST_UNKNOWN_SUBJECTS = 10_000;
const MOST_SENT = 20_000;
const MOST_SIZES = 10_000;
/** Of all lists of tags in memory. */
const MOST_LISTED_TAGS = 500_000;
/** Anybody can make digests up, and each of them is a question to a registry. */
const MOST_QUESTIONS = 8;
/** What one process remembers while it serves. Everything in it may be forgotten. */
export interface Serving {
  readonly deps: ServeDeps;
  readonly patience: ServePatience;
  readonly freshness: (reference: Reference) => Freshness;
  /** Bytes of manifests, whichever repository may serve them. */
  readonly manifests: LRUCache<string, Uint8Array>;
  /** Links of manifests that have landed, by repository and digest: they are never taken back. */
  readonly links: LRUCache<string, Link>;
  /**
   * Manifests that nobody pulled here and that nothing refers to, by repository and digest: when that was asked, epoch milliseconds. No row says it,
   * because there is no end to the digests that can be made up.
   */
  readonly unknownSubjects: LRUCache<string, number>;
  /** Content that clients were sent to the store for, by digest. */
  readonly sent: LRUCache<string, Sent>;
  /** Sizes of blobs that no manifest names here, by repository and digest, as their registry says them. No row says them either. */
  readonly blobSizes: LRUCache<string, SizeAnswer>;
  /** Lists of tags, by repository. */
  readonly tagLists: LRUCache<string, TagList>;
  /** For questions to a registry about manifests that nobody pulled here. */
  readonly subjectQuestions: Permits;
  /** For questions to a registry about blobs that no manifest names here: of each registry its own, so that one that is silent keeps no other waiting. */
  readonly blobQuestions: (registry: string) => Permits;
  /** One run of the same work for all who ask meanwhile; the work goes on when one of them leaves. */
  readonly share: <T>(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
  /** Whether {@link share} runs that work now. */
  readonly isShared: (key: string) => boolean;
  /**
   * Asks the registry of the repository.
   *
   * @throws RateLimitedError, UpstreamUnavailableError at once where it is left alone ({@link Breakers}).
   */
  readonly ask: <T>(subject: Subject, question: (fetcher: Fetcher) => Promise<T>) => Promise<T>;
  /** Throws what {@link ask} would, without asking: nobody need wait for a lock only to hear it. */
  readonly requireClosed: (subject: Subject) => void;
  /** Keeps the bytes of what landed, where it landed here. */
  readonly remember: (landed: StoredManifest) => void;
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
      // Registries are those of the configuration: there is an end to them.
      const seats = blobQuestions.get(registry) ?? newPermits(MOST_QUESTIONS);
      blobQuestions.set(registry, seats);
      return seats;
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
        const said = await question(deps.fetcher);
        breaking.answered(subject);
        return said;
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
