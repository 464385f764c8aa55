import * as z from 'zod/mini';
import {
  BlobSizeError,
  BlobUnknownError,
  CacheError,
  DeniedError,
  FailedElsewhereError,
  InvalidRequestError,
  LeaseLostError,
  ManifestUnknownError,
  RateLimitedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import { fence, fenceOf } from '../lock/fence.ts';
import { count, decode, descriptor, digest, flag, array, record, ShapeError, string } from '../oci/schemas.ts';
import { failureOf, pullFailure, type PullFailure } from '../pull/failure.ts';
import { formatRepository, parseReference, parseTag, type Repository } from '../reference/reference.ts';
import type { Fetcher } from './fetcher.ts';
import type { ServeCall } from './serving.ts';

/*
 * A Fetcher in another function: one method and its arguments as JSON, and its result or failure as JSON. A failure is an answer, so that Lambda does not retry
 * it, and no alarm counts it.
 */

/** The questions; a repository is text in JSON. */
const question = z.discriminatedUnion(
  'ask',
  [
    record({
      ask: z.literal('resolve'),
      repository: string,
      tag: string,
      lock: fence,
      resolutions: z.exactOptional(count),
    }),
    record({ ask: z.literal('listTags'), repository: string }),
    record({
      ask: z.literal('fetchReferrers'),
      repository: string,
      digest,
      lock: z.exactOptional(fence),
      resolutions: z.exactOptional(count),
    }),
    record({ ask: z.enum(['fetchManifest', 'confirm', 'sizeOfBlob', 'findRedirect']), repository: string, digest }),
    record({ ask: z.literal('markLost'), digest }),
  ],
  'a question',
);
type Question = z.output<typeof question>;
export type FetchQuestion<R extends string | Repository = string> = Question extends infer One
  ? One extends { readonly repository: string }
    ? Omit<One, 'repository'> & { readonly repository: R }
    : One
  : never;

/** The answers; a failed one has only `failure`. */
const answered = record({ failure: z.exactOptional(pullFailure) });
const resolved = record({ digest, checkedMs: count, landed: z.exactOptional(descriptor) });
const storedManifest = record({ landed: descriptor });
const storedReferrers = record({ checkedMs: count, landed: z.exactOptional(descriptor) });
const listed = record({ tags: array(string) });
const confirmed = record({ confirmed: flag });
const marked = record({ lost: z.exactOptional(string) });
const sized = record({ size: count });
const located = record({ location: z.exactOptional(string.check(z.refine((url) => URL.canParse(url), 'a URL'))) });

const OP = 'ask registry';

/**
 * Asks `fetcher` what the document asks for. A failure is in the answer; one of the cache itself is logged, too.
 *
 * @throws InvalidRequestError where the document is not a valid question: only functions of the same deployment ask.
 */
export async function answerFetch(
  fetcher: Fetcher,
  document: unknown,
  call: ServeCall,
  requireAllowed: (repository: Repository) => void,
): Promise<unknown> {
  const question = questionFrom(document);
  try {
    if ('repository' in question) requireAllowed(question.repository);
    return await answerTo(fetcher, question, call);
  } catch (error) {
    const failure = failureOf(error);
    const line = 'a registry could not be asked';
    if (!(error instanceof CacheError)) call.logger.error(line, error);
    else if (failure.status >= 500) call.logger.warn(line, { reason: failure.message });
    return { failure };
  }
}

async function answerTo(fetcher: Fetcher, question: FetchQuestion<Repository>, call: ServeCall): Promise<unknown> {
  if (question.ask === 'markLost') {
    const lost = await fetcher.markLost(call, question.digest);
    return lost === undefined ? {} : { lost };
  }
  const { repository } = question;
  switch (question.ask) {
    case 'resolve': {
      const { tag, lock, resolutions } = question;
      const { digest, checkedMs, landed } = await fetcher.resolve(call, { repository, tag }, lock, resolutions);
      return { digest, checkedMs, ...(landed === undefined ? {} : { landed: landed.descriptor }) };
    }
    case 'fetchManifest':
      return { landed: (await fetcher.fetchManifest(call, repository, question.digest)).descriptor };
    case 'listTags':
      return { tags: await fetcher.listTags(call, repository) };
    case 'confirm':
      return { confirmed: await fetcher.confirm(call, repository, question.digest) };
    case 'sizeOfBlob':
      return { size: await fetcher.sizeOfBlob(call, repository, question.digest) };
    case 'findRedirect': {
      const location = await fetcher.findRedirect(call, repository, question.digest);
      return location === undefined ? {} : { location: location.href };
    }
    case 'fetchReferrers': {
      const { digest: subject, lock, resolutions } = question;
      const { checkedMs, list } = await fetcher.fetchReferrers(call, repository, subject, resolutions, lock);
      return { checkedMs, ...(list === undefined ? {} : { landed: list.descriptor }) };
    }
  }
}

function questionFrom(document: unknown): FetchQuestion<Repository> {
  try {
    const asked = decode(question, document, 'event');
    if (asked.ask === 'markLost') return asked;
    const { repository } = parseReference(`${asked.repository}:any`);
    return asked.ask === 'resolve' ? { ...asked, repository, tag: parseTag(asked.tag) } : { ...asked, repository };
  } catch (error) {
    if (!(error instanceof ShapeError || error instanceof CacheError)) throw error;
    throw new InvalidRequestError(
      'event',
      `${error.message}; only the registry endpoint of the cache may call this function`,
      error,
    );
  }
}

/**
 * A Fetcher in another process: `send` carries the question there and the answer back.
 *
 * @throws the failure of the answer, as what it was.
 */
export function remoteFetcher(send: (question: FetchQuestion, signal: AbortSignal) => Promise<unknown>): Fetcher {
  const ask = async <S extends z.ZodMiniType>(
    { signal }: Pick<ServeCall, 'signal'>,
    question: FetchQuestion,
    schema: S,
  ): Promise<z.output<S>> => {
    const document = await send(question, signal);
    try {
      const { failure } = decode(answered, document, 'answer');
      if (failure === undefined) return decode(schema, document, 'answer');
      throw errorOf(failure);
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      throw new UpstreamUnavailableError(OP, `${error.message}: the functions are of different versions`, {
        cause: error,
      });
    }
  };
  return {
    async resolve(call, { repository, tag = '' }, lock, resolutions) {
      const asked = { ask: 'resolve', repository: formatRepository(repository), tag, lock: fenceOf(lock) } as const;
      const since = resolutions === undefined ? {} : { resolutions };
      const { landed, ...resolution } = await ask(call, { ...asked, ...since }, resolved);
      return { ...resolution, ...(landed === undefined ? {} : { landed: { descriptor: landed } }) };
    },
    async fetchManifest(call, repository, digest) {
      const asked = { ask: 'fetchManifest', repository: formatRepository(repository), digest } as const;
      return { descriptor: (await ask(call, asked, storedManifest)).landed };
    },
    async fetchReferrers(call, repository, digest, resolutions, lock) {
      const asked = { ask: 'fetchReferrers', repository: formatRepository(repository), digest } as const;
      const since = resolutions === undefined ? {} : { resolutions };
      const held = lock === undefined ? {} : { lock: fenceOf(lock) };
      const { checkedMs, landed } = await ask(call, { ...asked, ...since, ...held }, storedReferrers);
      return { checkedMs, ...(landed === undefined ? {} : { list: { descriptor: landed } }) };
    },
    async listTags(call, repository) {
      const asked = { ask: 'listTags', repository: formatRepository(repository) } as const;
      return (await ask(call, asked, listed)).tags;
    },
    async confirm(call, repository, digest) {
      const asked = { ask: 'confirm', repository: formatRepository(repository), digest } as const;
      return (await ask(call, asked, confirmed)).confirmed;
    },
    async sizeOfBlob(call, repository, digest) {
      const asked = { ask: 'sizeOfBlob', repository: formatRepository(repository), digest } as const;
      return (await ask(call, asked, sized)).size;
    },
    async findRedirect(call, repository, digest) {
      const asked = { ask: 'findRedirect', repository: formatRepository(repository), digest } as const;
      const { location } = await ask(call, asked, located);
      return location === undefined ? undefined : new URL(location);
    },
    async markLost(call, digest) {
      return (await ask(call, { ask: 'markLost', digest }, marked)).lost;
    },
  };
}

/** What serving acts upon is what it was; of everything else the status and the words are enough. */
function errorOf(failure: PullFailure): CacheError {
  const { name, message, status, retryAfterMs } = failure;
  switch (name) {
    case 'ManifestUnknownError':
      return new ManifestUnknownError(message);
    case 'BlobUnknownError':
      return new BlobUnknownError(message);
    case 'BlobSizeError':
      return new BlobSizeError(message);
    case 'DeniedError':
      return new DeniedError(OP, message);
    case 'RateLimitedError':
      return new RateLimitedError(OP, message, retryAfterMs);
    case 'UpstreamUnavailableError':
      return new UpstreamUnavailableError(OP, message, { timedOut: status === 504, retryAfterMs });
    case 'DeadlineError':
      return new UpstreamUnavailableError(OP, 'the registry did not answer in time', { timedOut: true });
    case 'LeaseLostError':
      return new LeaseLostError(OP, message);
    default:
      return new FailedElsewhereError(OP, message, failure);
  }
}
