import { isDigest, type Digest } from '../oci/digest.ts';

/** A document that is not of the shape it should have; its message says where. */
export class JsonShapeError extends Error {
  constructor(where: string, what: string) {
    super(`${where} is not ${what}`);
    this.name = 'JsonShapeError';
  }
}

/** One value of a JSON document, and where it is in it, for messages. Each way of reading it throws a JsonShapeError where the value is something else. */
export interface JsonValue {
  readonly isAbsent: boolean;
  get(key: string): JsonValue;
  text(): string;
  /** A whole number from 0 on. */
  count(): number;
  digest(): Digest;
  flag(): boolean;
  url(): URL;
  /** One of these texts. */
  oneOf<T extends string>(...texts: readonly T[]): T;
  list<T>(read: (one: JsonValue) => T): T[];
}

export function jsonValue(value: unknown, where: string): JsonValue {
  const wrong = (what: string): JsonShapeError => new JsonShapeError(where, what);
  const text = (): string => {
    if (typeof value !== 'string') throw wrong('text');
    return value;
  };
  return {
    isAbsent: value === undefined || value === null,
    get(key) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('an object');
      return jsonValue(
        Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined,
        `${where}.${key}`,
      );
    },
    text,
    count() {
      if (!Number.isSafeInteger(value) || (value as number) < 0) throw wrong('a whole number from 0 on');
      return value as number;
    },
    digest() {
      const digest = text();
      if (!isDigest(digest)) throw wrong('a digest');
      return digest;
    },
    flag() {
      if (typeof value !== 'boolean') throw wrong('true or false');
      return value;
    },
    url() {
      const url = text();
      if (!URL.canParse(url)) throw wrong('a URL');
      return new URL(url);
    },
    oneOf(...texts) {
      const found = texts.find((one) => one === value);
      if (found === undefined) throw wrong(`one of ${texts.join(', ')}`);
      return found;
    },
    list(read) {
      if (!Array.isArray(value)) throw wrong('a list');
      return value.map((one: unknown, i) => read(jsonValue(one, `${where}[${i}]`)));
    },
  };
}
