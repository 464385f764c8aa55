import {
  CacheError,
  DeniedError,
  FailedElsewhereError,
  InvalidRequestError,
  LeaseLostError,
  ManifestUnknownError,
  RateLimitedError,
  UpstreamUnavailableError,
} from '../errors/cache-error.ts';
import { failureFromDocument, failureOf } from '../fill/failure.ts';
import { JsonShapeError, jsonValue, type JsonValue } from '../fill/json.ts';
import type { PullFailure } from '../fill/pull-record.ts';
import { fenceOf, type Fence } from '../lock/lease.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { formatRepository, parseReference, parseTag, type Repository } from '../reference/reference.ts';
import type { Landing } from './landing.ts';
import type { ServeCall } from './serve-deps.ts';

/*
 * How a function asks another for a Landing: one method and its arguments as JSON, and its result, or its failure, as JSON. A failure is an answer, so that
 * neither Lambda's retries nor its alarms take it for a fault.
 */

/** What the functions say to each other; a repository is text on the way. */
export type LandingQuestion<R extends string | Repository = string> =
  | {
      readonly ask: 'resolve';
      readonly repository: R;
      readonly tag: string;
      readonly lock: Fence;
      readonly resolutions?: number;
    }
  | { readonly ask: 'land' | 'landReferrers' | 'confirm' | 'locate'; readonly repository: R; readonly digest: Digest };

const OP = 'ask registry';

/**
 * Asks `landing` what the document asks for; whatever goes wrong is in the answer.
 *
 * @param failed is told of what is no fault of the caller or of a registry.
 * @throws InvalidRequestError where the document is none: only functions of the same deployment ask.
 */
export async function answerLanding(
  landing: Landing,
  document: unknown,
  call: ServeCall,
  requireAllowed: (repository: Repository) => void,
): Promise<unknown> {
  const question = questionFrom(document);
  try {
    requireAllowed(question.repository);
    return await answerTo(landing, question, call);
  } catch (error) {
    const failure = failureOf(error);
    const line = 'a registry could not be asked';
    if (!(error instanceof CacheError)) call.logger.error(line, error);
    else if (failure.status >= 500) call.logger.warn(line, { reason: failure.message });
    return { failure };
  }
}

async function answerTo(landing: Landing, question: LandingQuestion<Repository>, call: ServeCall): Promise<unknown> {
  const { ask, repository } = question;
  switch (ask) {
    case 'resolve': {
      const { tag, lock, resolutions } = question;
      const { digest, checkedMs, landed } = await landing.resolve(call, { repository, tag }, lock, resolutions);
      return { digest, checkedMs, ...(landed === undefined ? {} : { landed: landed.descriptor }) };
    }
    case 'land':
      return { landed: (await landing.land(call, repository, question.digest)).descriptor };
    case 'confirm':
      return { confirmed: await landing.confirm(call, repository, question.digest) };
    case 'locate': {
      const location = await landing.locate(call, repository, question.digest);
      return location === undefined ? {} : { location: location.href };
    }
    case 'landReferrers': {
      const { checkedMs, list } = await landing.landReferrers(call, repository, question.digest);
      return { checkedMs, ...(list === undefined ? {} : { landed: list.descriptor }) };
    }
  }
}

function questionFrom(document: unknown): LandingQuestion<Repository> {
  try {
    const value = jsonValue(document, 'event');
    const ask = value.get('ask').oneOf('resolve', 'land', 'confirm', 'locate', 'landReferrers');
    const { repository } = parseReference(`${value.get('repository').text()}:any`);
    if (ask === 'resolve') {
      const resolutions = value.get('resolutions');
      return {
        ask,
        repository,
        tag: parseTag(value.get('tag').text()),
        lock: fenceFrom(value.get('lock')),
        ...(resolutions.isAbsent ? {} : { resolutions: resolutions.count() }),
      };
    }
    return { ask, repository, digest: value.get('digest').digest() };
  } catch (error) {
    if (!(error instanceof JsonShapeError || error instanceof CacheError)) throw error;
    throw new InvalidRequestError(
      'event',
      `${error.message}; only the registry endpoint of the cache asks here`,
      error,
    );
  }
}

const fenceFrom = (value: JsonValue): Fence => ({
  name: value.get('name').text(),
  holder: value.get('holder').text(),
  generation: value.get('generation').count(),
});

/**
 * A Landing that is somewhere else: `send` carries the question there and the answer back.
 *
 * @throws the failure of the answer, as what it was.
 */
export function remoteLanding(send: (question: LandingQuestion, signal: AbortSignal) => Promise<unknown>): Landing {
  const ask = async <T>(
    { signal }: ServeCall,
    question: LandingQuestion,
    read: (answer: JsonValue) => T,
  ): Promise<T> => {
    const answer = jsonValue(await send(question, signal), 'answer');
    try {
      const failure = answer.get('failure');
      if (failure.isAbsent) return read(answer);
      throw errorOf(failureFromDocument(failure));
    } catch (error) {
      if (!(error instanceof JsonShapeError)) throw error;
      throw new UpstreamUnavailableError(OP, `${error.message}: the functions are of different versions`, {
        cause: error,
      });
    }
  };
  return {
    resolve: (call, { repository, tag = '' }, lock, resolutions) =>
      ask(
        call,
        {
          ask: 'resolve',
          repository: formatRepository(repository),
          tag,
          lock: fenceOf(lock),
          ...(resolutions === undefined ? {} : { resolutions }),
        },
        (answer) => {
          const landed = answer.get('landed');
          return {
            digest: answer.get('digest').digest(),
            checkedMs: answer.get('checkedMs').count(),
            ...(landed.isAbsent ? {} : { landed: { descriptor: descriptorFrom(landed) } }),
          };
        },
      ),
    land: (call, repository, digest) =>
      ask(call, { ask: 'land', repository: formatRepository(repository), digest }, (answer) => ({
        descriptor: descriptorFrom(answer.get('landed')),
      })),
    landReferrers: (call, repository, digest) =>
      ask(call, { ask: 'landReferrers', repository: formatRepository(repository), digest }, (answer) => {
        const landed = answer.get('landed');
        return {
          checkedMs: answer.get('checkedMs').count(),
          ...(landed.isAbsent ? {} : { list: { descriptor: descriptorFrom(landed) } }),
        };
      }),
    confirm: (call, repository, digest) =>
      ask(call, { ask: 'confirm', repository: formatRepository(repository), digest }, (answer) =>
        answer.get('confirmed').flag(),
      ),
    locate: (call, repository, digest) =>
      ask(call, { ask: 'locate', repository: formatRepository(repository), digest }, (answer) => {
        const location = answer.get('location');
        return location.isAbsent ? undefined : location.url();
      }),
  };
}

const descriptorFrom = (value: JsonValue): Descriptor => ({
  mediaType: value.get('mediaType').text(),
  digest: value.get('digest').digest(),
  size: value.get('size').count(),
});

/** What serving acts upon is what it was; of everything else the status and the words are enough. */
function errorOf(failure: PullFailure): CacheError {
  const { name, message, status, retryAfterMs } = failure;
  switch (name) {
    case 'ManifestUnknownError':
      return new ManifestUnknownError(message);
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
