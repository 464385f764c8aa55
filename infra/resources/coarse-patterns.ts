import { type Glob, parseGlob } from '../../lib/reference/globs.ts';

/** As many as one pattern of the configuration may become; a policy of IAM holds 10,240 characters. */
const MOST_PATTERNS = 100;
/** As many as are written out for a class, which "?" says nearly as well. */
const MOST_BY_CLASSES = 16;
/** As many as the `**` of one pattern may become. */
const MOST_DEPTHS = 8;
/** What a part of a repository's name is made of. */
const NAME_CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789._-'.split('');

/**
 * Patterns of IAM that together match every repository that the pattern of the configuration matches, and as little more as they
 * can say: their "*" and "?" stand for slashes, too. A sieve in front of the exact one.
 *
 * @throws Error if it would take too many of them: a wider pattern would grant what nobody wrote.
 */
export function coarsePatterns(pattern: string): readonly string[] {
  const flat = alternatives(parseGlob(pattern), ['']);
  if (flat === undefined) {
    throw new Error(
      `${JSON.stringify(pattern)} stands for more than ${MOST_PATTERNS} patterns of IAM and EventBridge; write it with fewer choices, or as several`,
    );
  }
  // Where a choice leaves a part empty, nothing is named.
  const named = flat.filter((one) => !/^$|^\/|\/\/|\/$/.test(one));
  return [...new Set(named.flatMap(anyDepth).map((one) => one.replace(/\*+/g, '*')))];
}

/** Each of `begun` continued by the pattern, without choices and classes; undefined if they are too many. */
function alternatives(glob: Glob, begun: readonly string[]): readonly string[] | undefined {
  let all: readonly string[] | undefined = begun;
  for (const token of glob) {
    if (all === undefined) return undefined;
    all = continued(token, all);
  }
  return all;
}

function continued(token: Glob[number], begun: readonly string[]): readonly string[] | undefined {
  const each = (...ends: readonly string[]): readonly string[] => begun.flatMap((one) => ends.map((end) => one + end));
  switch (token.kind) {
    case 'character':
      return each(token.character);
    case 'any':
      return each('?');
    case 'star':
      // Two in a row are one: in what is put together here "**" is a part.
      return begun.map((one) => (one.endsWith('*') ? one : `${one}*`));
    case 'depth':
      return each('**');
    case 'class': {
      const accepted = NAME_CHARACTERS.filter((character) => token.accepts(character));
      const many = begun.length * accepted.length;
      if (many <= MOST_BY_CLASSES) return each(...accepted);
      // Behind nothing but wildcards "?" could make it everything.
      if (!begun.some((one) => /^[*?/]*$/.test(one))) return each('?');
      return many > MOST_PATTERNS ? undefined : each(...accepted);
    }
    case 'choice': {
      const chosen: string[] = [];
      for (const one of token.of) {
        const more = alternatives(one, begun);
        if (more === undefined) return undefined;
        chosen.push(...more);
        if (chosen.length > MOST_PATTERNS) return undefined;
      }
      return [...new Set(chosen)];
    }
  }
}

/**
 * A part `**` also stands for no part at all: `a/**` is `a` too, `**` before a name is nothing too, and in between it is one "/".
 * From the fourth on `a/**` is `a*`: each doubles them.
 */
function anyDepth(glob: string): readonly string[] {
  const [first = '', ...others] = glob.replace(/(?:\*\*\/)+(?=\*\*(?:\/|$))/g, '').split('/');
  return others
    .reduce<readonly string[]>(
      (begun, part) => {
        if (part !== '**') return begun.map((one) => joined(one, part));
        return begun.flatMap((one) => (begun.length >= MOST_DEPTHS ? [`${one}*`] : [one, joined(one, '*')]));
      },
      first === '**' && others.length > 0 ? ['', '*'] : [first],
    )
    .filter((pattern) => pattern !== '');
}

const joined = (before: string, part: string): string => (before === '' ? part : `${before}/${part}`);
