import type { LogFields, Logger } from '../telemetry/logger.ts';
import { describedError } from '../telemetry/redacted.ts';
import { printable, type Output } from './output.ts';

/** A log for people: one line on stderr for each call, what it is about first. */
export function outputLogger(output: Output): Logger {
  const kept: Record<string, unknown> = {};
  const line = (level: string, message: string, fields: LogFields = {}): void => {
    const texts = Object.entries({ ...kept, ...fields }).map(
      ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    );
    output.note(printable([new Date().toISOString(), level, message, ...texts].join(' ')));
  };
  return {
    debug: () => undefined,
    info: (message, fields) => line('info ', message, fields),
    warn: (message, fields) => line('warn ', message, fields),
    error: (message, error, fields) => line('error', message, { ...fields, error: describedError(error) }),
    keep: (fields) => void Object.assign(kept, fields),
  };
}
