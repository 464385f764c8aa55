import * as z from 'zod';
import { parseGlob } from '../reference/globs.ts';

/*
 * Building blocks of the schemas. Messages never show a value that could be a secret: a password in the wrong place must not
 * reach a log (I7).
 */

export const kindOf = (input: unknown): string => {
  if (input === undefined || input === null) return 'nothing';
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object') return 'a map';
  // JSON has no infinity; YAML has.
  if (typeof input === 'number') return String(input);
  return typeof input === 'boolean' ? String(input) : 'text';
};

export const expected = (what: string) => ({
  error: (issue: { input?: unknown }): string => `expected ${what}, found ${kindOf(issue.input)}`,
});

/** Messages for a value that is not a map, and for an unknown key, to which {@link issuesOf} adds the known ones. */
export const strictMap = {
  error: (issue: { code?: string | undefined; input?: unknown }): string =>
    issue.code === 'unrecognized_keys' ? 'unknown key' : `expected a map, found ${kindOf(issue.input)}`,
};

export const text = (what: string, maxLength = 1024) =>
  z
    .string(expected(what))
    .min(1, `is empty; write ${what}`)
    .max(maxLength, `is longer than ${maxLength} characters; write ${what}`);

/** A value that `parse` accepts; the message of its error is the problem. */
export const parsed = <T>(what: string, parse: (value: string) => T) =>
  text(what).transform((value, context): T => {
    try {
      return parse(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });

export const list = <T extends z.ZodType>(item: T, example: string) =>
  z.array(item, expected(`a list, for example ${example}`)).max(1000, 'has more than 1000 entries');

/** The problems, one per unknown key. `knownKeys` are those of the top level, where the schema's own message does not list them ({@link mapOf} does). */
export function issuesOf(error: z.ZodError, knownKeys?: readonly string[]): { path: PropertyKey[]; message: string }[] {
  return error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          path: [...issue.path, key],
          message:
            issue.path.length > 0 || knownKeys === undefined
              ? issue.message
              : `${issue.message}; the known ones are ${knownKeys.join(', ')}`,
        }))
      : [{ path: issue.path, message: issue.message }],
  );
}

/** A map with these keys only, below the top level of a section. The message for an unknown key lists the known ones. */
export const mapOf = <T extends z.core.$ZodLooseShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue: { code?: string | undefined; input?: unknown }): string =>
      issue.code === 'unrecognized_keys'
        ? `unknown key; the known ones are ${Object.keys(shape).join(', ')}`
        : `expected a map, found ${kindOf(issue.input)}`,
  });

/** @param otherwise the default, for the message. */
export const wholeNumber = (min: number, max: number, otherwise = '') => {
  const what = `a whole number from ${min} to ${max}${otherwise}`;
  const outOfRange = {
    error: (issue: { input?: unknown }): string => `${kindOf(issue.input)} is out of range; write ${what}`,
  };
  return z.int(expected(what)).min(min, outOfRange).max(max, outOfRange);
};

/** A list that is not empty. */
export const someOf = <T extends z.ZodType>(item: T, example: string, empty: string) =>
  list(item, example).min(1, `is empty; ${empty}`);

/** Characters of registries, repositories and tags, except "/". */
const NAME_CHARACTER = /^[\w.:-]$/;

/** @throws Error unless the text is a pattern over repositories or tags. */
export const checkGlob = (value: string, example: string): string => checked(value, example, NAME_CHARACTER);

/** @throws Error unless the text is a pattern over callers, whose names may have any characters. */
export const checkCallerGlob = (value: string, example: string): string => checked(value, example);

function checked(value: string, example: string, plain?: RegExp): string {
  try {
    parseGlob(value, plain);
    return value;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new Error(
      `${JSON.stringify(value)} is not a glob pattern: ${cause.message}; write a name with *, **, ?, {a,b}, [a-z] or [!a-z] in it and nothing else, for example ${example}`,
      { cause },
    );
  }
}
