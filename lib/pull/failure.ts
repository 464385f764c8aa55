import * as z from 'zod/mini';
import { BlobsFailedError, CacheError, ERROR_CODES, MOST_BLOBS_NAMED } from '../errors/cache-error.ts';
import { statusOfError } from '../errors/status.ts';
import { count, flag, array, record, string } from '../oci/schemas.ts';

/** Step Functions keeps 32 KB of a cause, and Lambda writes the message into it twice. */
const MAX_MESSAGE_CHARACTERS = 4_000;
const MAX_NAME_CHARACTERS = 100;
const MAX_BLOB_MESSAGE_CHARACTERS = 400;

const bounded = (characters: number) =>
  z.pipe(
    string,
    z.transform((value: string) => cut(value, characters)),
  );
const cut = (value: string, characters: number): string =>
  value.length > characters ? `${value.slice(0, characters)}…` : value;

/** Why a pull, or one of its blobs, failed, as callers may see it: no secrets, and no details of internal errors. */
const failureFields = {
  /** The name of the error: `DeniedError`, `PlatformMissingError`, … */
  name: bounded(MAX_NAME_CHARACTERS),
  message: bounded(MAX_MESSAGE_CHARACTERS),
  /** A code of the distribution specification, where one fits. */
  code: z.exactOptional(z.enum(ERROR_CODES, 'a code of the specification')),
  /** The HTTP status that a caller gets. */
  status: count,
  retryable: flag,
  /** Wait this long after the failure before the next try, if the registry said so. */
  retryAfterMs: z.exactOptional(count),
};

export const failureOfBlob = record({ ...failureFields, digest: string });
export type FailureOfBlob = z.output<typeof failureOfBlob>;

export const pullFailure = record({
  ...failureFields,
  /** The blobs that failed, each with its reason; at most {@link MOST_BLOBS_NAMED}. All other blobs are in the cache. */
  blobs: z.exactOptional(array(failureOfBlob)),
});
export type PullFailure = z.output<typeof pullFailure>;

/** `error` as callers may see it: the message of a CacheError, which holds no secret (I7); nothing of any other error. */
export function failureOf(error: unknown): PullFailure {
  const failure = plainFailureOf(error);
  if (!(error instanceof BlobsFailedError)) return failure;
  const blobs = error.failures.slice(0, MOST_BLOBS_NAMED).map(({ digest, error: own }) => {
    const { message, ...reason } = plainFailureOf(own);
    return { digest, ...reason, message: cut(message, MAX_BLOB_MESSAGE_CHARACTERS) };
  });
  return { ...failure, blobs };
}

function plainFailureOf(error: unknown): PullFailure {
  const status = statusOfError(error);
  if (!(error instanceof CacheError) || status === 500) {
    return { name: 'InternalError', message: 'an internal error, see the log', status: 500, retryable: false };
  }
  return {
    name: error.name,
    message: cut(error.message, MAX_MESSAGE_CHARACTERS),
    ...(error.code === undefined ? {} : { code: error.code }),
    status,
    retryable: error.retryable,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  };
}

/** The failure of a pull whose blobs failed in several batches; the same as {@link failureOf} of all of them. */
export function failureOfBlobs(blobs: readonly [FailureOfBlob, ...FailureOfBlob[]]): PullFailure {
  const lead = blobs.find(({ retryable }) => !retryable) ?? blobs[0];
  const { digest: _, ...own } = lead;
  if (blobs.length === 1) return { ...own, blobs };
  const reasons = blobs.map(({ digest, message }) => `${digest}: ${message}`);
  return {
    ...own,
    name: BlobsFailedError.name,
    message: cut([`${blobs.length} blobs failed`, ...reasons].join('\n  '), MAX_MESSAGE_CHARACTERS),
    retryable: blobs.every(({ retryable }) => retryable),
    blobs: blobs.slice(0, MOST_BLOBS_NAMED),
  };
}
