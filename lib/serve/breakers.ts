import { LRUCache } from 'lru-cache';
import { CacheError, DeadlineError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';

/** What is asked of registries. A fault at one kind says nothing of the others. */
export type QuestionKind = 'manifests' | 'blobs' | 'referrers' | 'tags' | 'redirect';

/** One question: what is asked for, of which repository. */
export interface Subject {
  readonly repository: Repository;
  readonly kind: QuestionKind;
  /** A tag or a digest; empty where the question is about the whole repository. */
  readonly name: string;
}

/** Whether a registry is asked, or left alone for some seconds, so that not every client waits for the same fault. */
export interface Breakers {
  /** @throws RateLimitedError, UpstreamUnavailableError while it is left alone: what it failed with. */
  check(subject: Subject): void;
  /** The registry answered, whatever it said. */
  answered(subject: Subject): void;
  /** @param wasSlow whether the question took so long that a client would not wait for it again. */
  failed(subject: Subject, failure: unknown, wasSlow: boolean): void;
}

const MOST_OPEN = 5_000;
/** Where a registry that limits us does not say how long it wants to rest. */
const LIMITED_MS = 30_000;
/** After any other fault. */
const OPEN_MS = 5_000;
/** So many different questions in a row that met silence, and the registry itself is silent. */
const SILENT_QUESTIONS = 3;

interface OpenCircuit {
  readonly untilMs: number;
  readonly failure: unknown;
}

/**
 * Breakers of one process. A fault stays where it is: an answer of 5xx, a connection that breaks, or silence concerns what was asked for alone. A registry as a
 * whole is left alone, for questions of that kind, where it says so (429), or where several different questions in a row met silence.
 */
export function breakers(): Breakers {
  const resting = new LRUCache<string, OpenCircuit>({ max: MOST_OPEN });
  /** Questions that met silence since the last answer, by registry and kind. */
  const silent = new LRUCache<string, Set<string>>({ max: MOST_OPEN });

  return {
    check(subject) {
      for (const key of [registryOf(subject), keyOf(subject)]) {
        const rest = resting.get(key);
        if (rest !== undefined && rest.untilMs > Date.now()) throw stillOpen(rest);
      }
    },

    answered(subject) {
      silent.delete(registryOf(subject));
    },

    failed(subject, failure, wasSlow) {
      const rest = (key: string, forMs: number, reason: unknown): void => {
        resting.set(key, { untilMs: Date.now() + forMs, failure: reason });
      };
      const registry = registryOf(subject);
      if (failure instanceof RateLimitedError) {
        rest(registry, failure.retryAfterMs ?? LIMITED_MS, failure);
        return;
      }
      // A question whose time was nearly over before it was asked says nothing of the registry.
      if (failure instanceof DeadlineError && !wasSlow) return;
      const reason = failure instanceof DeadlineError ? unanswered(failure) : failure;
      if (isAnswer(reason)) silent.delete(registry);
      if (!(reason instanceof UpstreamUnavailableError)) return;
      rest(keyOf(subject), reason.retryAfterMs ?? OPEN_MS, reason);
      if (isAnswer(reason)) return;
      const questions = silent.get(registry) ?? new Set<string>();
      silent.set(registry, questions.add(keyOf(subject)));
      if (questions.size < SILENT_QUESTIONS) return;
      silent.delete(registry);
      rest(registry, OPEN_MS, reason);
    },
  };
}

const registryOf = ({ repository: { registry }, kind }: Subject): string => `${kind} ${registry}`;

const keyOf = ({ repository, kind, name }: Subject): string => `${kind} ${formatRepository(repository)} ${name}`;

const unanswered = (cause: DeadlineError): UpstreamUnavailableError =>
  new UpstreamUnavailableError('ask registry', 'the registry did not answer in time a moment ago', {
    cause,
    timedOut: true,
  });

/** A client that comes later need not wait as long as the first. */
const stillOpen = ({ failure, untilMs }: OpenCircuit): unknown =>
  failure instanceof RateLimitedError
    ? new RateLimitedError(failure.op, failure.message, untilMs - Date.now())
    : failure;

/** Whatever a registry said, or began to say, is one. */
const isAnswer = (failure: unknown): boolean =>
  failure instanceof CacheError &&
  failure.origin === 'upstream' &&
  !(failure instanceof UpstreamUnavailableError && (failure.timedOut || isUnreachable(failure.cause)));

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN', 'EAI_FAIL']);

const isUnreachable = (cause: unknown): boolean =>
  cause instanceof Error && 'code' in cause && UNREACHABLE.has(String(cause.code));
