import { asciiOf, describedError, type LogFields, type Logger, redacted } from '../telemetry/logger.ts';
import type { Output } from './output.ts';

export const LOG_FORMATS = ['text', 'json'] as const;
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;

export interface LogOptions {
  readonly logFormat: (typeof LOG_FORMATS)[number];
  /** Lines below it are not written. */
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

type Level = LogOptions['logLevel'];
type Form = (level: Level, message: string, fields: LogFields) => string;

/**
 * A log on stderr, a line per call, in printable ASCII: as `name=value`, or as JSON with the field names of the functions' log. Secrets are redacted, and no value can
 * begin a line or look like another field.
 */
export function outputLogger(output: Output, { logFormat, logLevel }: LogOptions): Logger {
  const kept: Record<string, unknown> = {};
  const form = logFormat === 'json' ? jsonLine : textLine;
  const write = (level: Level, message: string, fields: LogFields = {}): void => {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(logLevel)) return;
    output.log(form(level, message, { ...kept, ...fields }));
  };
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, error, fields) => write('error', message, { ...fields, error: describedError(error) }),
    keep: (fields) => void Object.assign(kept, fields),
  };
}

const withoutSecrets = (_name: string, value: unknown): unknown =>
  typeof value === 'string' ? redacted(value) : value;

const json = (value: unknown): string => asciiOf(JSON.stringify(value, withoutSecrets));

const jsonLine: Form = (level, message, fields) =>
  json({ timestamp: new Date().toISOString(), level: level.toUpperCase(), message, ...fields });

const textLine: Form = (level, message, fields) => {
  const present = Object.entries(fields).filter(([, value]) => value !== undefined);
  const texts = present.map(([name, value]) => `${name}=${textOf(value)}`);
  return [new Date().toISOString(), level.padEnd(5), asciiOf(redacted(message)), ...texts].join(' ');
};

/** Quoted if a character in it could end the value. */
const textOf = (value: unknown): string =>
  typeof value === 'string' && /^[\w.:/@+,*[\]-]+$/.test(value) ? value : json(value);
