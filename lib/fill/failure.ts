import { BlobsFailedError, CacheError } from '../errors/cache-error.ts';
import { ERROR_CODES } from '../errors/error-codes.ts';
import { statusOf } from '../errors/status.ts';
import type { JsonValue } from './json.ts';
import { MOST_BLOBS_NAMED, type Failure, type FailureOfBlob, type PullFailure } from './pull-record.ts';

/** Step Functions keeps 32 KB of a cause, and Lambda writes the message into it twice. */
const MAX_MESSAGE_CHARACTERS = 4_000;
const MAX_NAME_CHARACTERS = 100;
const MAX_BLOB_MESSAGE_CHARACTERS = 400;

/** What a caller may be told about `error`: the whole message of a CacheError, which holds no secret (I7); nothing of any other. */
export function failureOf(error: unknown): PullFailure {
  const failure = plainFailureOf(error);
  if (!(error instanceof BlobsFailedError)) return failure;
  const blobs = error.failures.slice(0, MOST_BLOBS_NAMED).map(({ digest, error: own }) => {
    const { message, ...reason } = plainFailureOf(own);
    return { digest, ...reason, message: bounded(message, MAX_BLOB_MESSAGE_CHARACTERS) };
  });
  return { ...failure, blobs };
}

function plainFailureOf(error: unknown): Failure {
  const status = statusOf(error);
  if (!(error instanceof CacheError) || status === 500) {
    return { name: 'InternalError', message: 'an internal error, see the log', status: 500, retryable: false };
  }
  return {
    name: error.name,
    message: bounded(error.message, MAX_MESSAGE_CHARACTERS),
    ...(error.code === undefined ? {} : { code: error.code }),
    status,
    retryable: error.retryable,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  };
}

/** Of a pull whose blobs failed in several batches: as {@link failureOf} would say it of all of them. */
export function failureOfBlobs(blobs: readonly [FailureOfBlob, ...FailureOfBlob[]]): PullFailure {
  const lead = blobs.find(({ retryable }) => !retryable) ?? blobs[0];
  const { digest: _, ...own } = lead;
  if (blobs.length === 1) return { ...own, blobs };
  const reasons = blobs.map(({ digest, message }) => `${digest}: ${message}`);
  return {
    ...own,
    name: BlobsFailedError.name,
    message: bounded([`${blobs.length} blobs failed`, ...reasons].join('\n  '), MAX_MESSAGE_CHARACTERS),
    retryable: blobs.every(({ retryable }) => retryable),
    blobs: blobs.slice(0, MOST_BLOBS_NAMED),
  };
}

/** The same, as another process wrote it down. @throws JsonShapeError */
export function failureFromDocument(document: JsonValue): PullFailure {
  const failure = plainFailureFrom(document);
  const blobs = document.get('blobs');
  if (blobs.isAbsent) return failure;
  return { ...failure, blobs: blobs.list(blobFailureFrom) };
}

export const blobFailureFrom = (document: JsonValue): FailureOfBlob => ({
  digest: document.get('digest').digest(),
  ...plainFailureFrom(document),
});

function plainFailureFrom(document: JsonValue): Failure {
  const code = document.get('code');
  const retryAfterMs = document.get('retryAfterMs');
  return {
    name: bounded(document.get('name').text(), MAX_NAME_CHARACTERS),
    message: bounded(document.get('message').text(), MAX_MESSAGE_CHARACTERS),
    ...(code.isAbsent ? {} : { code: code.oneOf(...ERROR_CODES) }),
    status: document.get('status').count(),
    retryable: document.get('retryable').flag(),
    ...(retryAfterMs.isAbsent ? {} : { retryAfterMs: retryAfterMs.count() }),
  };
}

const bounded = (text: string, characters: number): string =>
  text.length > characters ? `${text.slice(0, characters)}…` : text;
