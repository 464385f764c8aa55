import { Logger as PowertoolsLogger } from '@aws-lambda-powertools/logger';
import type { LogFields, Logger } from './logger.ts';
import { describedError, redacted } from './redacted.ts';

/** Lines of JSON by Powertools: its level is `POWERTOOLS_LOG_LEVEL`, its service `POWERTOOLS_SERVICE_NAME`. One for the life of a process. */
export function powertoolsLogger(): PowertoolsLogger {
  // Not only our own fields pass here: whatever a line holds, no text of it keeps a secret (I7).
  return new PowertoolsLogger({
    jsonReplacerFn: (_key, value) => (typeof value === 'string' ? redacted(value) : value),
  });
}

/** The log of one invocation: `fields` stand in each of its lines. */
export function invocationLogger(powertools: PowertoolsLogger, fields: LogFields): Logger {
  let kept = fields;
  return {
    debug: (message, more) => powertools.debug(message, { ...kept, ...more }),
    info: (message, more) => powertools.info(message, { ...kept, ...more }),
    warn: (message, more) => powertools.warn(message, { ...kept, ...more }),
    error: (message, error, more) => powertools.error(message, { ...kept, ...more, error: describedError(error) }),
    keep(more) {
      kept = { ...kept, ...more };
    },
  };
}
