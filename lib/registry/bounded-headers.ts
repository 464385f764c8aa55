import { errors, type Dispatcher } from 'undici';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;

/**
 * Ends a request whose final headers have not come within `timeoutMs` of its sending. undici's own `headersTimeout` begins anew with each 1xx answer and with each
 * byte, so that a server that drips holds a connection for good. The time in the queue for a connection does not count.
 */
export const boundedHeaders =
  (timeoutMs: number): Dispatcher.DispatcherComposeInterceptor =>
  (dispatch) =>
  (options, handler) =>
    dispatch(options, new BoundedHeaders(handler, timeoutMs));

class BoundedHeaders implements Handler {
  readonly #inner: Handler;
  readonly #timeoutMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(inner: Handler, timeoutMs: number) {
    this.#inner = inner;
    this.#timeoutMs = timeoutMs;
  }

  onRequestStart(controller: Controller, context: unknown): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      controller.abort(new errors.HeadersTimeoutError(`no headers within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    this.#inner.onRequestStart?.(controller, context);
  }

  onRequestUpgrade(...args: Parameters<NonNullable<Handler['onRequestUpgrade']>>): void {
    clearTimeout(this.#timer);
    this.#inner.onRequestUpgrade?.(...args);
  }

  onResponseStart(...args: Parameters<NonNullable<Handler['onResponseStart']>>): void {
    const [, statusCode] = args;
    if (statusCode >= 200) clearTimeout(this.#timer);
    this.#inner.onResponseStart?.(...args);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#inner.onResponseData?.(controller, chunk);
  }

  onResponseEnd(...args: Parameters<NonNullable<Handler['onResponseEnd']>>): void {
    clearTimeout(this.#timer);
    this.#inner.onResponseEnd?.(...args);
  }

  onResponseError(controller: Controller, error: Error): void {
    clearTimeout(this.#timer);
    this.#inner.onResponseError?.(controller, error);
  }

  onBodySent(chunk: Buffer): void {
    this.#inner.onBodySent?.(chunk);
  }

  onRequestSent(): void {
    this.#inner.onRequestSent?.();
  }
}
