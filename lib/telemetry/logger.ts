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
