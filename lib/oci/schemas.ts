import * as z from 'zod/mini';
import type { Descriptor, IndexEntry } from './descriptor.ts';
import { isDigest, type Digest } from './digest.ts';
import type { Platform } from './platform.ts';

/*
 * Schemas for the parts of documents that processes of a deployment exchange. Unknown fields are dropped, because another
 * version may have written them.
 */

/** A document does not match its schema. The message says where. */
export class ShapeError extends Error {
  constructor(where: string, what: string) {
    super(`${where} is not ${what}`);
    this.name = 'ShapeError';
  }
}

/** `value` if it matches the schema. `name` is for messages. @throws ShapeError */
export function decode<S extends z.ZodMiniType>(schema: S, value: unknown, name: string): z.output<S> {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  const path = (issue?.path ?? []).map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`));
  throw new ShapeError(`${name}${path.join('')}`, issue?.message ?? 'valid');
}

export const string = z.string('text');
/** A whole number from 0 on. */
export const count = z.int('a whole number from 0 on').check(z.gte(0, 'a whole number from 0 on'));
export const flag = z.boolean('true or false');
export const digest = z.custom<Digest>((value) => typeof value === 'string' && isDigest(value), 'a digest');
export const array = <S extends z.ZodMiniType>(one: S) => z.readonly(z.array(one, 'a list'));
export const record = <S extends z.core.$ZodLooseShape>(fields: S) => z.readonly(z.object(fields, 'an object'));
/** A branded string. */
export const named = <T extends string>() => z.custom<T>((value) => typeof value === 'string', 'text');

const descriptorFields = { mediaType: string, digest, size: count };

export const descriptor: z.ZodMiniType<Descriptor> = record(descriptorFields);

export const platform: z.ZodMiniType<Platform> = record({
  os: string,
  architecture: string,
  variant: z.exactOptional(string),
});

export const indexEntry: z.ZodMiniType<IndexEntry> = record({
  ...descriptorFields,
  platform: z.exactOptional(platform),
  attests: z.exactOptional(digest),
  fault: z.exactOptional(string),
});
