import { CacheError } from '../errors/cache-error.ts';
import { ERROR_CODES } from '../errors/error-codes.ts';
import { statusOf } from '../errors/status.ts';
import type { JsonValue } from './json.ts';
import type { PullFailure } from './pull-record.ts';

/** Step Functions keeps 32 KB of a cause, and Lambda writes the message into it twice. */
const MAX_MESSAGE_CHARACTERS = 4_000;
const MAX_NAME_CHARACTERS = 100;

/** What a caller may be told about `error`: the whole message of a CacheError, which holds no secret (I7); nothing of any other. */
export function failureOf(error: unknown): PullFailure {
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

/** The same, as another process wrote it down. @throws JsonShapeError */
export function failureFromDocument(document: JsonValue): PullFailure {
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
