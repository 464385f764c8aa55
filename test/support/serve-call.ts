import type { ServeCall } from '../../lib/serve/serving.ts';
import type { LogFields } from '../../lib/telemetry/logger.ts';

/** A call without logs, except `warn`, which gets warnings and errors. */
export const serveCall = (warn: (message: string, fields?: LogFields) => void = () => undefined): ServeCall => ({
  signal: new AbortController().signal,
  metrics: { add: () => undefined },
  logger: {
    debug: () => undefined,
    info: () => undefined,
    warn,
    error: (message) => warn(message),
    keep: () => undefined,
  },
});
