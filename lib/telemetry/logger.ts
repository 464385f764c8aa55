import { CacheError } from '../errors/cache-error.ts';

/** Fields of a line, beside its message. Values must be JSON; what looks like a secret is taken out of every text. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The structured log of one invocation: one line of JSON for each call. Never throws. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** With the names, messages and causes of `error`; with its stack where it was not thrown on purpose. */
  error(message: string, error: unknown, fields?: LogFields): void;
  /** The fields stand in every later line of this invocation: `{pullId}`. */
  keep(fields: LogFields): void;
}

const MAX_TEXT_CHARACTERS = 4096;
/** Of causes. */
const MAX_DEPTH = 5;
/** Of an AggregateError. */
const MAX_ERRORS = 20;

/** Name, message and causes of the error, bounded and without secrets; the stack where it was not thrown on purpose. */
export function describedError(error: unknown, depth = 0): Record<string, unknown> {
  if (!(error instanceof Error)) return { name: typeof error };
  const { code, op, origin, retryable } = error as Partial<CacheError>;
  return {
    name: error.name,
    message: redacted(error.message),
    code,
    op,
    origin,
    retryable,
    ...(error instanceof CacheError ? {} : { stack: redacted(error.stack ?? '') }),
    ...(error.cause === undefined || depth === MAX_DEPTH ? {} : { cause: describedError(error.cause, depth + 1) }),
    ...(error instanceof AggregateError && depth < MAX_DEPTH
      ? { errors: error.errors.slice(0, MAX_ERRORS).map((one) => describedError(one, depth + 1)) }
      : {}),
  };
}

const MOST_CLIENT_CHARACTERS = 200;

/** A text that a client chose, for a log: bounded, without secrets, and in printable ASCII, so that it can begin no line and hide nothing on a terminal. */
export const clientText = (text: string): string => asciiOf(redacted(text)).slice(0, MOST_CLIENT_CHARACTERS);

/** Everything but printable ASCII is escaped as in JSON. */
export const asciiOf = (text: string): string =>
  text.replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

/**
 * Our own errors hold no secret (I7), but causes come from other people's code: user names in URLs, signatures of presigned URLs and
 * tokens in headers are taken out of them.
 */
export function redacted(text: string): string {
  // What is cut off here is cut off again below: half of a secret would not be known as one.
  return text
    .slice(0, 2 * MAX_TEXT_CHARACTERS)
    .replace(/\/\/[^/\s"'?#]*@/g, '//[redacted]@')
    .replace(/\b(Basic|Bearer)\s+[\w.~+/=-]+/gi, '$1 [redacted]')
    .replace(
      /([?&](?:X-Amz-(?:Signature|Credential|Security-Token)|token|access_token|sig|signature)=)[^&\s"']*/gi,
      '$1[redacted]',
    )
    .slice(0, MAX_TEXT_CHARACTERS);
}
