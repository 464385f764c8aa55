/*
 * A pattern of the configuration for names with parts separated by "/": repositories, tags, callers.
 *
 *   glob   = *( "*" | "**" | "?" | class | choice | character )
 *   "*"      any number of characters of one part, or none
 *   "**"     any number of parts, or none: `team/**` also matches `team`. It stands alone between slashes.
 *   "?"      one character of a part
 *   class    "[" [ "!" | "^" ] 1*( character | character "-" character ) "]"   one character of a part: of these, or not of these
 *   choice   "{" glob 1*( "," glob ) "}"   one of these; a choice may be empty
 *
 * There are no escapes and no negated patterns. Characters with a meaning in other pattern languages are refused, to avoid
 * misunderstandings.
 */
export type Glob = readonly GlobToken[];
type GlobToken =
  | { readonly kind: 'character'; readonly character: string }
  | { readonly kind: 'class'; readonly accepts: (character: string) => boolean }
  | { readonly kind: 'any' | 'star' | 'depth' }
  | { readonly kind: 'choice'; readonly of: readonly Glob[] };

/** Characters that match themselves, including those in names of callers: spaces, commas, "@", "+". The rest is refused. */
const PLAIN = /^[^!()|\\\p{Cc}]$/u;
const MOST_CHARACTERS = 1024;

/**
 * Parses a pattern.
 *
 * @param plain Characters that match themselves. Narrower if the names have fewer characters.
 * @throws SyntaxError saying what is wrong, and where.
 */
export function parseGlob(text: string, plain: RegExp = PLAIN): Glob {
  if (text.length > MOST_CHARACTERS) throw new SyntaxError(`it is longer than ${MOST_CHARACTERS} characters`);
  const characters = Array.from(text);
  let at = 0;

  function sequence(isChoice: boolean): Glob {
    const tokens: GlobToken[] = [];
    for (; at < characters.length; at++) {
      const character = characters[at] ?? '';
      if (isChoice && (character === ',' || character === '}')) break;
      tokens.push(token(character));
    }
    return tokens;
  }

  /** Leaves `at` on the last character of the token. */
  function token(character: string): GlobToken {
    switch (character) {
      case '*':
        if (characters[at + 1] !== '*') return { kind: 'star' };
        at++;
        return { kind: 'depth' };
      case '?':
        return { kind: 'any' };
      case '[':
        return classToken();
      case '{':
        return choice();
      case ']':
      case '}':
        throw new SyntaxError(`the ${JSON.stringify(character)} at character ${at + 1} closes nothing`);
      default:
        if (character !== '/' && !plain.test(character)) throw new SyntaxError(notPlain(character, at));
        return { kind: 'character', character };
    }
  }

  function choice(): GlobToken {
    const start = at;
    const of: Glob[] = [];
    do {
      at++;
      of.push(sequence(true));
    } while (characters[at] === ',');
    if (characters[at] !== '}') throw new SyntaxError(`the "{" at character ${start + 1} is not closed`);
    if (of.length < 2) throw new SyntaxError(`the braces at character ${start + 1} have no comma: a choice is {a,b}`);
    return { kind: 'choice', of };
  }

  function classToken(): GlobToken {
    const end = characters.indexOf(']', at);
    if (end < 0) throw new SyntaxError(`the "[" at character ${at + 1} is not closed`);
    const inside = characters.slice(at + 1, end);
    at = end;
    return { kind: 'class', accepts: parseClass(inside) };
  }

  const glob = sequence(false);
  if (!standsAlone(glob)) {
    throw new SyntaxError('"**" has to stand alone between slashes, as in team/**; within a part write "*"');
  }
  return glob;
}

function notPlain(character: string, at: number): string {
  const where = `the ${JSON.stringify(character)} at character ${at + 1}`;
  return character === '!' ? `${where} excludes nothing: list what to include` : `${where} is not allowed`;
}

const codeOf = (character: string): number => character.codePointAt(0) ?? 0;

/** @param inside The characters between the brackets. */
function parseClass(inside: readonly string[]): (character: string) => boolean {
  const written = `[${inside.join('')}]`;
  const refuse = (why: string): never => {
    throw new SyntaxError(`${why} in the class ${written}, which stands for one character, as in [a-z0-9]`);
  };
  const negated = inside[0] === '!' || inside[0] === '^';
  const members = negated ? inside.slice(1) : inside;
  if (members.length === 0) refuse('nothing is');
  const unknown = members.find((member) => /[[/\\\p{Cc}]/u.test(member));
  if (unknown !== undefined) refuse(`${JSON.stringify(unknown)} is not allowed`);
  // [:alpha:] of POSIX, and the address of a registry: [::1].
  if (members.indexOf(':') !== members.lastIndexOf(':')) refuse('":" is twice');

  const ranges: (readonly [from: number, to: number])[] = [];
  for (let at = 0; at < members.length; at++) {
    const [from = '', dash, to] = members.slice(at, at + 3);
    if (from === '-' && at > 0 && at < members.length - 1) refuse('a "-" between ranges is');
    const isRange = from !== '-' && dash === '-' && to !== undefined;
    if (isRange && codeOf(to) < codeOf(from)) refuse(`the range ${from}-${to} is backwards`);
    ranges.push([codeOf(from), codeOf(isRange ? to : from)]);
    if (isRange) at += 2;
  }
  return (character) => {
    const code = codeOf(character);
    return character !== '/' && ranges.some(([from, to]) => from <= code && code <= to) !== negated;
  };
}

/** Whether each "**" has a slash, or an end of the pattern, on both sides, for all choices. */
function standsAlone(glob: Glob): boolean {
  let alone = true;
  /** Walks in one direction. `edge`: whether a part begins here. Returns whether one begins after the last token. */
  const walk = (tokens: Glob, edge: boolean, backwards: boolean): boolean => {
    for (const token of backwards ? tokens.toReversed() : tokens) {
      if (token.kind === 'depth') alone &&= edge;
      edge =
        token.kind === 'choice'
          ? token.of.map((one) => walk(one, edge, backwards)).every(Boolean)
          : token.kind === 'character' && token.character === '/';
    }
    return edge;
  };
  walk(glob, true, false);
  walk(glob, true, true);
  return alone;
}

/**
 * Returns a test whether a name matches one of the patterns. Case matters, a leading dot is not special, and no pattern matches
 * an empty name.
 *
 * The test takes time linear in the length of the name, for any pattern.
 *
 * @throws SyntaxError for an invalid pattern; the configuration has already refused those.
 */
export function globs(patterns: readonly string[]): (name: string) => boolean {
  const compiled = patterns.map((pattern) => compileGlob(parseGlob(pattern)));
  return (name) => compiled.some((one) => matchesGlob(one, name));
}

/** A compiled pattern: a nondeterministic automaton. It reads every name with a "/" appended. */
export interface CompiledGlob {
  /** The literal start of the pattern. */
  readonly prefix: string;
  /** The state after the prefix. */
  readonly start: number;
  readonly states: readonly State[];
}
type State =
  | { readonly kind: 'end' }
  | { readonly kind: 'one'; readonly accepts: (character: string) => boolean; readonly next: number }
  | { readonly kind: 'slash' | 'star' | 'depth'; readonly next: number }
  | { readonly kind: 'choice'; readonly next: readonly number[] };

export function compileGlob(glob: Glob): CompiledGlob {
  const states: State[] = [{ kind: 'end' }];
  const add = (state: State): number => states.push(state) - 1;
  const sequence = (tokens: Glob, behind: number): number =>
    tokens.reduceRight((next, token) => {
      switch (token.kind) {
        case 'character': {
          const { character } = token;
          if (character === '/') return add({ kind: 'slash', next });
          return add({ kind: 'one', accepts: (other) => other === character, next });
        }
        case 'class':
          return add({ kind: 'one', accepts: token.accepts, next });
        case 'any':
          return add({ kind: 'one', accepts: (other) => other !== '/', next });
        case 'choice':
          return add({ kind: 'choice', next: token.of.map((one) => sequence(one, next)) });
        default:
          return add({ kind: token.kind, next });
      }
    }, behind);
  const whole: Glob = [...glob, { kind: 'character', character: '/' }];
  const special = whole.findIndex((token) => token.kind !== 'character');
  const plain = special < 0 ? whole : whole.slice(0, special);
  return {
    prefix: plain.map((token) => (token.kind === 'character' ? token.character : '')).join(''),
    start: sequence(whole.slice(plain.length), 0),
    states,
  };
}

export function matchesGlob({ prefix, start, states }: CompiledGlob, name: string): boolean {
  const whole = `${name}/`;
  if (name === '' || !whole.startsWith(prefix)) return false;
  let current = new Set<number>();
  /** States in which "**" has matched up to here, including the slash of the last part. */
  let passed = new Set<number>();

  /** Adds a state and all that it reaches without reading. */
  const enter = (from: number, isPassed: boolean, atPart: boolean): void => {
    const waiting: [number, boolean][] = [[from, isPassed]];
    for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) {
      const [id, without] = one;
      const known = without ? passed : current;
      if (known.has(id)) continue;
      known.add(id);
      const state = states[id];
      if (state?.kind === 'choice') waiting.push(...state.next.map((next): [number, boolean] => [next, without]));
      else if (without && state?.kind === 'slash') waiting.push([state.next, false]);
      else if (!without && state?.kind === 'star') waiting.push([state.next, false]);
      else if (!without && state?.kind === 'depth' && atPart) waiting.push([state.next, true]);
    }
  };

  enter(start, false, prefix === '' || prefix.endsWith('/'));
  for (const character of whole.slice(prefix.length)) {
    const before = current;
    const isSlash = character === '/';
    current = new Set();
    passed = new Set();
    for (const id of before) {
      const state = states[id];
      if (state === undefined || state.kind === 'end' || state.kind === 'choice') continue;
      const isRead =
        state.kind === 'one'
          ? state.accepts(character)
          : state.kind === 'depth' || isSlash === (state.kind === 'slash');
      if (!isRead) continue;
      const stays = state.kind === 'star' || state.kind === 'depth';
      enter(stays ? id : state.next, false, isSlash);
    }
    if (current.size === 0) return false;
  }
  return current.has(0);
}
