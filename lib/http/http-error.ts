import { CacheError, type ErrorCode } from '../errors/cache-error.ts';

/** An answer that HTTP alone knows: a path or method that is not there, a thing that is not found under its name. */
export class HttpError extends CacheError {
  readonly status: 400 | 404 | 405;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: 400 | 404 | 405,
    message: string,
    { code, headers = {} }: { code?: ErrorCode; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message, { op: 'answer', origin: 'client', retryable: false, ...(code === undefined ? {} : { code }) });
    this.status = status;
    this.headers = headers;
  }
}
