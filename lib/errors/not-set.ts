import { ConfigError } from './cache-error.ts';

/** Something is needed that only a variable of the environment can name. */
export const notSet = (variable: string, what: string): ConfigError =>
  new ConfigError(`${variable} is not set: it names ${what}`);
