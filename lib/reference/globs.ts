import { parseGlob, type Glob } from './glob.ts';

/**
 * Whether one of the patterns of the configuration matches the name; see {@link parseGlob} for what they are made of. Case
 * counts, a leading dot is a character like any other, and no pattern matches an empty name.
 *
 * Takes time in proportion to the length of the name, whatever the pattern.
 *
 * @throws SyntaxError if one is not a pattern, which the configuration has refused before.
 */
export function globs(patterns: readonly string[]): (name: string) => boolean {
  const compiled = patterns.map((pattern) => compileGlob(parseGlob(pattern)));
  return (name) => compiled.some((one) => matchesGlob(one, name));
}

/** What a pattern is compiled to: an automaton that is in several of its states at once. Every name is read with a "/" behind it. */
export interface CompiledGlob {
  /** The characters that it begins with. */
  readonly prefix: string;
  /** The state behind them. */
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
  /** Where "**" stood for what was read so far: its own slash, that of the last part, is read. */
  let passed = new Set<number>();

  /** All states that are reached from one without reading. */
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
