import { LRUCache } from 'lru-cache';
import { CacheError, DeadlineError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';

/** Kinds of questions to registries. A failure of one kind says nothing about the others. */
export type QuestionKind = 'manifests' | 'blobs' | 'referrers' | 'tags' | 'redirect';

/** One question: what is asked for, and of which repository. */
export interface Subject {
  readonly repository: Repository;
  readonly kind: QuestionKind;
  /** A tag or a digest; empty where the question is about the whole repository. */
  readonly name: string;
}

/** Circuit breakers: after a failure a registry is not asked for some seconds, so that not every client waits for the same failure. */
export interface Breakers {
  /** @throws RateLimitedError, UpstreamUnavailableError while the circuit is open: what it failed with. */
  check(subject: Subject): void;
  /** The registry answered, with success or failure. */
  answered(subject: Subject): void;
  /** @param wasSlow whether the question took longer than `patience.slowMs`. */
  failed(subject: Subject, failure: unknown, wasSlow: boolean): void;
}

const MOST_OPEN = 5_000;
/** For a rate limit without `Retry-After`. */
const LIMITED_MS = 30_000;
/** After any other failure. */
const OPEN_MS = 5_000;
/** Different questions in a row without an answer that open the circuit of the whole registry. */
const UNANSWERED_QUESTIONS = 3;

interface OpenCircuit {
  readonly untilMs: number;
  readonly failure: unknown;
}

/**
 * The breakers of one process. A 5xx, a broken connection or a timeout opens the circuit of that one question. The circuit of a whole registry, for questions
 * of that kind, opens on 429, or when several different questions in a row got no answer.
 */
export function breakers(): Breakers {
  const open = new LRUCache<string, OpenCircuit>({ max: MOST_OPEN });
  /** Questions without an answer since the last answer, by registry and kind. */
  const unansweredSince = new LRUCache<string, Set<string>>({ max: MOST_OPEN });

  return {
    check(subject) {
      for (const key of [registryOf(subject), keyOf(subject)]) {
        const circuit = open.get(key);
        if (circuit !== undefined && circuit.untilMs > Date.now()) throw stillOpen(circuit);
      }
    },

    answered(subject) {
      unansweredSince.delete(registryOf(subject));
    },

    failed(subject, failure, wasSlow) {
      const openFor = (key: string, forMs: number, reason: unknown): void => {
        open.set(key, { untilMs: Date.now() + forMs, failure: reason });
      };
      const registry = registryOf(subject);
      if (failure instanceof RateLimitedError) {
        openFor(registry, failure.retryAfterMs ?? LIMITED_MS, failure);
        return;
      }
      // A question that was asked shortly before its deadline says nothing about the registry.
      if (failure instanceof DeadlineError && !wasSlow) return;
      const reason = failure instanceof DeadlineError ? unanswered(failure) : failure;
      if (isAnswer(reason)) unansweredSince.delete(registry);
      if (!(reason instanceof UpstreamUnavailableError)) return;
      openFor(keyOf(subject), reason.retryAfterMs ?? OPEN_MS, reason);
      if (isAnswer(reason)) return;
      const questions = unansweredSince.get(registry) ?? new Set<string>();
      unansweredSince.set(registry, questions.add(keyOf(subject)));
      if (questions.size < UNANSWERED_QUESTIONS) return;
      unansweredSince.delete(registry);
      openFor(registry, OPEN_MS, reason);
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

/** With the time that is left: a later client waits shorter than the first. */
const stillOpen = ({ failure, untilMs }: OpenCircuit): unknown =>
  failure instanceof RateLimitedError
    ? new RateLimitedError(failure.op, failure.message, untilMs - Date.now())
    : failure;

/** Whether the registry answered at all, also with an error or in part. */
const isAnswer = (failure: unknown): boolean =>
  failure instanceof CacheError &&
  failure.origin === 'upstream' &&
  !(failure instanceof UpstreamUnavailableError && (failure.timedOut || isUnreachable(failure.cause)));

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN', 'EAI_FAIL']);

const isUnreachable = (cause: unknown): boolean =>
  cause instanceof Error && 'code' in cause && UNREACHABLE.has(String(cause.code));
