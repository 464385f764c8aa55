import type { Link } from '../catalog/catalog.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Reference, type Repository } from '../reference/reference.ts';
import { SharedWork } from '../registry/shared-work.ts';
import type { SizeAnswer } from './blob-alone.ts';
import { boundedMap, type BoundedMap } from './bounded-map.ts';
import { breakers, type Subject } from './breakers.ts';
import { freshnessOf } from './freshness.ts';
import type { Sent } from './gone.ts';
import type { Landed, Landing } from './landing.ts';
import { USUAL_PATIENCE, type ServePatience } from './patience.ts';
import { processSeats, type Seats } from './seats.ts';
import type { ServeDeps } from './serve-deps.ts';
import type { Freshness } from './settings.ts';
import type { TagList } from './tags.ts';

/** Manifests in memory, by digest: they never change. */
const MANIFEST_BYTES = 64 * 1024 * 1024;
const MOST_LINKS = 50_000;
const MOST_UNREFERRED = 10_000;
const MOST_SENT = 20_000;
const MOST_SIZES = 10_000;
/** Of all lists of tags in memory. */
const MOST_LISTED_TAGS = 500_000;
/** Anybody can make digests up, and each of them is a question to a registry. */
const MOST_STRANGE_QUESTIONS = 8;
/** What one process remembers while it serves. Everything in it may be forgotten. */
export interface Serving {
  readonly deps: ServeDeps;
  readonly patience: ServePatience;
  readonly freshness: (reference: Reference) => Freshness;
  /** Bytes of manifests, whichever repository may serve them. */
  readonly manifests: BoundedMap<Uint8Array>;
  /** Links of manifests that have landed, by repository and digest: they are never taken back. */
  readonly links: BoundedMap<Link>;
  /**
   * Manifests that nobody pulled here and that nothing refers to, by repository and digest: when that was asked, epoch milliseconds. No row says it,
   * because there is no end to the digests that can be made up.
   */
  readonly unreferred: BoundedMap<number>;
  /** Content that clients were sent to the store for, by digest. */
  readonly sent: BoundedMap<Sent>;
  /** Sizes of blobs that no manifest names here, by repository and digest, as their registry says them. No row says them either. */
  readonly blobSizes: BoundedMap<SizeAnswer>;
  /** Lists of tags, by repository. */
  readonly tagLists: BoundedMap<TagList>;
  /** For questions to a registry about manifests that nobody pulled here. */
  readonly strangeQuestions: Seats;
  /** For questions to a registry about blobs that no manifest names here: of each registry its own, so that one that is silent keeps no other waiting. */
  readonly blobQuestions: (registry: string) => Seats;
  /** One run of the same work for all who ask meanwhile; the work goes on when one of them leaves. */
  readonly share: <T>(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
  /** Whether {@link share} runs that work now. */
  readonly isShared: (key: string) => boolean;
  /**
   * Asks the registry of the repository.
   *
   * @throws RateLimitedError, UpstreamUnavailableError at once where it is left alone ({@link Breakers}).
   */
  readonly ask: <T>(subject: Subject, question: (landing: Landing) => Promise<T>) => Promise<T>;
  /** Throws what {@link ask} would, without asking: nobody need wait for a lock only to hear it. */
  readonly requireAwake: (subject: Subject) => void;
  /** Keeps the bytes of what landed, where it landed here. */
  readonly remember: (landed: Landed) => void;
}

export function serving(deps: ServeDeps): Serving {
  const running = new Map<string, SharedWork<unknown>>();
  const breaking = breakers();
  const patience = deps.patience ?? USUAL_PATIENCE;
  const blobQuestions = new Map<string, Seats>();
  const manifests = boundedMap<Uint8Array>(MANIFEST_BYTES, (bytes) => bytes.byteLength);

  return {
    deps,
    patience,
    freshness: freshnessOf(deps.settings.freshness),
    manifests,
    links: boundedMap(MOST_LINKS),
    unreferred: boundedMap(MOST_UNREFERRED),
    sent: boundedMap(MOST_SENT),
    blobSizes: boundedMap(MOST_SIZES),
    tagLists: boundedMap<TagList>(MOST_LISTED_TAGS, ({ tags }) => tags.length + 1),
    strangeQuestions: processSeats(MOST_STRANGE_QUESTIONS),

    blobQuestions(registry) {
      // Registries are those of the configuration: there is an end to them.
      const seats = blobQuestions.get(registry) ?? processSeats(MOST_STRANGE_QUESTIONS);
      blobQuestions.set(registry, seats);
      return seats;
    },

    async share<T>(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
      signal.throwIfAborted();
      const shared = (running.get(key) ?? new SharedWork<unknown>()) as SharedWork<T>;
      running.set(key, shared);
      return await shared.run(signal, async (stop) => {
        try {
          return await work(stop);
        } finally {
          if (running.get(key) === shared) running.delete(key);
        }
      });
    },

    isShared: (key) => running.has(key),

    requireAwake: (subject) => breaking.check(subject),

    async ask(subject, question) {
      breaking.check(subject);
      const startedMs = performance.now();
      try {
        const said = await question(deps.landing);
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
