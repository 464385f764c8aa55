import type { FetchedManifest, Upstream } from './upstream.ts';

/** Shorter secrets occur in every text by chance. */
const LEAST_CHARACTERS = 4;
/** From this length on, upper and lower case are treated alike. */
const LEAST_FOLDED = 8;
/** For one registry; the oldest go first. */
const MOST_SECRETS = 300;
const MOST_CHARACTERS = 8192;
/** Depth of causes. */
const MOST_DEPTH = 5;
/** Readings of one text: escapes may be nested, and a secret may itself look like an escape. */
const MOST_READINGS = 24;
/** `%41`; `\u0041`, `\x41`, `\"`, `\n`; `&#65;`, `&#x41;`, `&amp;`; `<br>`; a line break, which may split any of them */
const ESCAPES: readonly RegExp[] = [
  /(?:%[0-9a-f]{2})+/gi,
  /\\+u(?<unicode>[0-9a-f]{4})|\\+u\{(?<braced>[0-9a-f]{1,6})\}|\\+x(?<byte>[0-9a-f]{2})|\\(?<plain>["'/\\])|\\+(?<blank>[nrt])/gi,
  /&#(?<decimal>\d{1,7});?|&#x(?<hex>[0-9a-f]{1,6});?|&(?<entity>amp|lt|gt|quot|apos);/gi,
  /(?<tag><\/?[a-z][^<>]{0,200}>)/gi,
  /(?<nothing>[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+)/gu,
];
/** What may split a secret: white space and invisible characters; or anything but letters and digits. */
const BETWEEN: readonly RegExp[] = [/[\s\p{Cc}\p{Cf}]+/gu, /[^\p{L}\p{N}]+/gu];
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const BASE64_RUN = /[\w+/=-]/;

/** One way to decode a text: its characters, and where each begins and ends in the original. */
interface Reading {
  readonly text: string;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/**
 * The passwords and tokens that this process has or had for one registry, which no message may contain. Each is found in plain,
 * in hex, in base64 (alone or inside other text, as in Basic), and with the escapes of URLs, JSON and HTML, also nested; and
 * also if split by line breaks and the like.
 */
export class KnownSecrets {
  readonly #secrets = new Set<string>();

  /** Ignores texts that are too short. */
  add(...secrets: readonly unknown[]): void {
    for (const secret of secrets) {
      if (typeof secret !== 'string' || secret.length < LEAST_CHARACTERS) continue;
      // How its Latin-1 bytes read as UTF-8.
      const shown = Buffer.from(secret, 'latin1').toString('utf8');
      for (const one of isLatin1(secret) ? [secret, shown] : [secret]) {
        this.#secrets.delete(one);
        this.#secrets.add(one);
      }
    }
    for (const oldest of this.#secrets) {
      if (this.#secrets.size <= MOST_SECRETS) break;
      this.#secrets.delete(oldest);
    }
  }

  isIn(text: string): boolean {
    return this.#rangesIn(text).length > 0;
  }

  /** The text with "…" for each secret. A long text is first cut at a word, because part of a secret is not recognised. */
  removedFrom(text: string): string {
    const whole = text.length <= MOST_CHARACTERS ? text : text.slice(0, MOST_CHARACTERS).replace(/\S*$/, '…');
    let left = '';
    let end = 0;
    for (const [from, to] of this.#rangesIn(whole)) {
      if (from >= end) left += `${whole.slice(end, from)}…`;
      end = Math.max(end, to);
    }
    return left + whole.slice(end);
  }

  /** The same error, with the secrets removed from its message and stack, and from those of its causes. */
  removedFromError(error: unknown, depth = 0): unknown {
    if (!(error instanceof Error) || depth > MOST_DEPTH) return error;
    for (const key of ['message', 'stack'] as const) {
      const text = error[key];
      const left = text === undefined ? undefined : this.removedFrom(text);
      // Assignment has no effect on a DOMException.
      if (left !== text) Object.defineProperty(error, key, { value: left, writable: true, configurable: true });
    }
    this.removedFromError(error.cause, depth + 1);
    if (error instanceof AggregateError) for (const one of error.errors) this.removedFromError(one, depth + 1);
    return error;
  }

  /** Where secrets are in the text, sorted by start. */
  #rangesIn(text: string): readonly (readonly [number, number])[] {
    const found: [number, number][] = [];
    if (this.#secrets.size === 0) return found;
    for (const reading of readingsOf(text)) {
      const joinings = BETWEEN.map((between) => ({ between, joined: unescaped(reading, between, () => '') }));
      for (const secret of this.#secrets) {
        for (const [from, to] of placesOf(secret, reading.text)) {
          found.push([reading.starts[from] ?? 0, reading.ends[to - 1] ?? text.length]);
        }
        for (const { between, joined } of joinings) {
          for (const [from, to] of joinedPlacesOf(secret, joined.text, between)) {
            found.push([joined.starts[from] ?? 0, joined.ends[to - 1] ?? text.length]);
          }
        }
      }
    }
    return found.sort(([a], [b]) => a - b);
  }
}

function readingsOf(text: string): readonly Reading[] {
  const indexes = Array.from({ length: text.length }, (_, index) => index);
  const readings: Reading[] = [{ text, starts: indexes, ends: indexes.map((index) => index + 1) }];
  for (const reading of readings) {
    for (const escapes of ESCAPES) {
      const next = unescaped(reading, escapes);
      const isNew = readings.length < MOST_READINGS && readings.every((one) => one.text !== next.text);
      if (isNew) readings.push(next);
    }
  }
  return readings;
}

function unescaped({ text, starts, ends }: Reading, escapes: RegExp, read = characterOf): Reading {
  const parts: string[] = [];
  const nextStarts: number[] = [];
  const nextEnds: number[] = [];
  const take = (part: string, from: number, to: number | undefined): void => {
    parts.push(part);
    for (let n = 0; n < part.length; n++) {
      nextStarts.push(starts[to === undefined ? from + n : from] ?? 0);
      nextEnds.push(ends[to === undefined ? from + n : to - 1] ?? 0);
    }
  };
  let end = 0;
  for (const match of text.matchAll(escapes)) {
    take(text.slice(end, match.index), end, undefined);
    end = match.index + match[0].length;
    take(read(match), match.index, end);
  }
  take(text.slice(end), end, undefined);
  return { text: parts.join(''), starts: nextStarts, ends: nextEnds };
}

function characterOf({ 0: all, groups = {} }: RegExpExecArray): string {
  const { plain, blank, tag, nothing, entity, decimal, unicode, braced, byte, hex } = groups;
  if (all.startsWith('%')) return Buffer.from(all.replaceAll('%', ''), 'hex').toString('utf8');
  if (plain !== undefined) return plain;
  if (blank !== undefined) return '\n';
  if (tag !== undefined || nothing !== undefined) return '';
  if (entity !== undefined) return ENTITIES[entity.toLowerCase()] ?? '';
  const code = decimal === undefined ? parseInt(unicode ?? braced ?? byte ?? hex ?? '0', 16) : Number(decimal);
  return code <= 0x10ffff ? String.fromCodePoint(code) : '';
}

/** Whether the text may also be meant as Latin-1 bytes. */
const isLatin1 = (text: string): boolean => /^[\0-\xff]*[\x80-\xff][\0-\xff]*$/.test(text);

const bytesOf = (secret: string): readonly Buffer[] => [
  Buffer.from(secret),
  ...(isLatin1(secret) ? [Buffer.from(secret, 'latin1')] : []),
];

function* placesOf(secret: string, text: string): Generator<readonly [number, number]> {
  const encoded = bytesOf(secret);
  const folded = fold(text);
  const isLong = secret.length >= LEAST_FOLDED;
  const plain = isLong ? [folded, fold(secret)] : [text, secret];
  const hex = encoded.map((bytes) => [folded, bytes.toString('hex')] as const);
  for (const [where, what] of [plain, ...hex] as const) {
    for (const from of indexesOf(where, what)) yield [from, from + what.length];
    // As forms encode it.
    if (what.includes(' ')) {
      for (const from of indexesOf(where, what.replaceAll(' ', '+'))) yield [from, from + what.length];
    }
  }
  const standard = text.replaceAll('-', '+').replaceAll('_', '/');
  for (const core of encoded.flatMap(base64Cores)) {
    for (const index of indexesOf(standard, core)) {
      let [from, to] = [index, index + core.length];
      while (from > 0 && BASE64_RUN.test(text.charAt(from - 1))) from--;
      while (to < text.length && BASE64_RUN.test(text.charAt(to))) to++;
      yield [from, to];
    }
  }
}

/** Finds a split secret: compares both without the characters of `between`. */
function* joinedPlacesOf(secret: string, text: string, between: RegExp): Generator<readonly [number, number]> {
  const folded = fold(text);
  const encoded = bytesOf(secret);
  const forms = [
    [folded, fold(secret)] as const,
    ...encoded.map((bytes) => [folded, bytes.toString('hex')] as const),
    ...encoded.flatMap(base64Cores).map((core) => [text, core] as const),
  ];
  for (const [where, form] of forms) {
    const what = form.replace(between, '');
    if (what.length < LEAST_FOLDED) continue;
    for (const from of indexesOf(where, what)) yield [from, from + what.length];
  }
}

/** The base64 of the bytes at each of the three offsets, without the characters that depend on neighbouring bytes. */
const base64Cores = (bytes: Buffer): readonly string[] =>
  [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(Math.ceil((8 * shift) / 6), Math.floor((8 * (shift + bytes.length)) / 6)),
  );

/** To lower case. Unlike `toLowerCase` it keeps the length. */
const fold = (text: string): string => text.replace(/[A-Z]+/g, (upper) => upper.toLowerCase());

function* indexesOf(text: string, what: string): Generator<number> {
  for (let at = text.indexOf(what); at >= 0; at = text.indexOf(what, at + 1)) yield at;
}

/** The upstream, with its registry's secrets removed from all errors and from recorded texts (I7). */
export function withoutSecrets(upstream: Upstream, secrets: KnownSecrets): Upstream {
  const guarded = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw secrets.removedFromError(error);
    }
  };
  // The registry chooses the media type, and rows store it.
  const recorded = ({ bytes, descriptor }: FetchedManifest): FetchedManifest => ({
    bytes,
    descriptor: { ...descriptor, mediaType: secrets.removedFrom(descriptor.mediaType) },
  });
  return {
    repository: upstream.repository,
    domain: upstream.domain,
    requests: upstream.requests,
    refusals: upstream.refusals,
    resolve: async (...asked) => {
      const { manifest, ...resolution } = await guarded(upstream.resolve(...asked));
      return manifest === undefined ? resolution : { ...resolution, manifest: recorded(manifest) };
    },
    listTags: (...asked) => guarded(upstream.listTags(...asked)),
    listReferrers: (...asked) => guarded(upstream.listReferrers(...asked)),
    readManifest: async (...asked) => recorded(await guarded(upstream.readManifest(...asked))),
    hasBlob: (...asked) => guarded(upstream.hasBlob(...asked)),
    sizeOfBlob: (...asked) => guarded(upstream.sizeOfBlob(...asked)),
    openBlob: async (...asked) => {
      const chunks = await guarded(upstream.openBlob(...asked));
      return {
        sender: () => secrets.removedFrom(chunks.sender?.() ?? '') || undefined,
        [Symbol.asyncIterator]: () => {
          const iterator = chunks[Symbol.asyncIterator]();
          return {
            next: () => guarded(iterator.next()),
            return: async () => (await iterator.return?.()) ?? { done: true, value: undefined },
          };
        },
      };
    },
    findRedirect: (...asked) => guarded(upstream.findRedirect(...asked)),
  };
}
