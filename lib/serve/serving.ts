import type { Link } from '../catalog/catalog.ts';
import { DeadlineError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, type Reference, type Repository } from '../reference/reference.ts';
import { SharedWork } from '../registry/shared-work.ts';
import { boundedMap, type BoundedMap } from './bounded-map.ts';
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
const MOST_RESTS = 1_000;
const MOST_UNREFERRED = 10_000;
const MOST_SENT = 20_000;
/** Of all lists of tags in memory. */
const MOST_LISTED_TAGS = 500_000;
/** Anybody can make digests up, and each of them is a question to a registry. */
const MOST_STRANGE_QUESTIONS = 8;
/** Where a registry that limits us does not say how long it wants to rest. */
const USUAL_REST_MS = 30_000;
/** A registry that does not answer is not asked again for every request. */
const DOWN_REST_MS = 5_000;

/** What is asked apart: a fault at it says nothing of manifests and blobs. */
type Favour = 'locate' | 'tags';

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
   * Manifests that nobody pulled here and that nothing refers to, by repository and digest: until when that is believed, epoch milliseconds. No row says it,
   * because there is no end to the digests that can be made up.
   */
  readonly unreferred: BoundedMap<number>;
  /** Content that clients were sent to the store for, by digest. */
  readonly sent: BoundedMap<Sent>;
  /** Lists of tags, by repository. */
  readonly tagLists: BoundedMap<TagList>;
  /** For whoever asks a registry about a manifest that nobody pulled here. */
  readonly strangeQuestions: Seats;
  /** One run of the same work for all who ask meanwhile; the work goes on when one of them leaves. */
  readonly share: <T>(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
  /** Whether {@link share} runs that work now. */
  readonly isShared: (key: string) => boolean;
  /**
   * Asks the registry of the repository.
   *
   * @param favour a registry that fails at it rests from it alone.
   * @throws RateLimitedError, UpstreamUnavailableError at once where it rests: because it said so, or did not answer a moment ago.
   */
  readonly ask: <T>(repository: Repository, question: (landing: Landing) => Promise<T>, favour?: Favour) => Promise<T>;
  /** Throws what {@link ask} would, without asking: nobody need wait for a lock only to hear it. */
  readonly requireAwake: (repository: Repository) => void;
  /** Keeps the bytes of what landed, where it landed here. */
  readonly remember: (landed: Landed) => void;
}

export function serving(deps: ServeDeps): Serving {
  const running = new Map<string, SharedWork<unknown>>();
  /** By registry, or by repository where it may be the fault of that alone; those that rest from a favour apart. */
  const resting = boundedMap<{ readonly untilMs: number; readonly failure: unknown }>(MOST_RESTS);
  const patience = deps.patience ?? USUAL_PATIENCE;
  const manifests = boundedMap<Uint8Array>(MANIFEST_BYTES, (bytes) => bytes.byteLength);

  const requireAwake = (repository: Repository, favour?: Favour): void => {
    for (const name of namesOf(repository, favour)) {
      const rest = resting.get(name);
      if (rest !== undefined && rest.untilMs > Date.now()) throw stillResting(rest);
    }
  };

  return {
    deps,
    patience,
    freshness: freshnessOf(deps.settings.freshness),
    manifests,
    links: boundedMap(MOST_LINKS),
    unreferred: boundedMap(MOST_UNREFERRED),
    sent: boundedMap(MOST_SENT),
    tagLists: boundedMap<TagList>(MOST_LISTED_TAGS, ({ tags }) => tags.length + 1),
    strangeQuestions: processSeats(MOST_STRANGE_QUESTIONS),

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

    requireAwake,

    async ask(repository, question, favour) {
      requireAwake(repository);
      if (favour !== undefined) requireAwake(repository, favour);
      const startedMs = performance.now();
      try {
        return await question(deps.landing);
      } catch (error) {
        const rest = restAfter(error, performance.now() - startedMs > patience.slowMs);
        if (rest !== undefined) {
          const [registry, own] = namesOf(repository, favour);
          resting.set(rest.of === 'registry' ? registry : own, {
            untilMs: Date.now() + rest.forMs,
            failure: rest.failure,
          });
        }
        throw error;
      }
    },

    remember({ descriptor: { digest }, bytes }) {
      if (bytes !== undefined) manifests.set(digest, bytes);
    },
  };
}

/** Who rests: the registry, or the repository alone. */
const namesOf = (repository: Repository, favour: Favour | undefined): readonly [string, string] => {
  const prefix = favour === undefined ? '' : `${favour} `;
  return [`${prefix}${repository.registry}`, `${prefix}${formatRepository(repository)}`];
};

/** Whoever comes later need not wait as long as the first. */
const stillResting = ({ failure, untilMs }: { readonly failure: unknown; readonly untilMs: number }): unknown =>
  failure instanceof RateLimitedError
    ? new RateLimitedError(failure.op, failure.message, untilMs - Date.now())
    : failure;

interface Rest {
  readonly of: 'registry' | 'repository';
  readonly forMs: number;
  readonly failure: unknown;
}

/** Who is left alone after a failure, so that nobody waits for it again right away. */
function restAfter(failure: unknown, wasSlow: boolean): Rest | undefined {
  if (failure instanceof RateLimitedError) {
    return { of: 'registry', forMs: failure.retryAfterMs ?? USUAL_REST_MS, failure };
  }
  // Whose time was nearly over before it asked says nothing of the registry.
  if (failure instanceof DeadlineError) {
    if (!wasSlow) return undefined;
    const late = new UpstreamUnavailableError('ask registry', 'the registry did not answer in time a moment ago', {
      cause: failure,
      timedOut: true,
    });
    return { of: 'registry', forMs: DOWN_REST_MS, failure: late };
  }
  if (!(failure instanceof UpstreamUnavailableError)) return undefined;
  // An answer of 5xx, and a connection that breaks, may be about one repository; that there is no connection, or no answer in time, is about the registry.
  const isDown = failure.timedOut || isUnreachable(failure.cause);
  return { of: isDown ? 'registry' : 'repository', forMs: failure.retryAfterMs ?? DOWN_REST_MS, failure };
}

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN', 'EAI_FAIL']);

const isUnreachable = (cause: unknown): boolean =>
  cause instanceof Error && 'code' in cause && UNREACHABLE.has(String(cause.code));

export const contentKey = (repository: Repository, digest: Digest): string =>
  `${formatRepository(repository)}@${digest}`;
