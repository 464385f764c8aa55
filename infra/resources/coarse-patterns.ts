import { type Glob, parseGlob } from '../../lib/reference/globs.ts';

/** Most patterns that one of the configuration may become: an IAM policy holds 10,240 characters. */
const MOST_PATTERNS = 100;
/** A class with more members than this becomes "?". */
const MOST_BY_CLASSES = 16;
/** Most patterns that the `**` of one pattern may become. */
const MOST_DEPTHS = 8;
/** What a part of a repository's name is made of. */
const NAME_CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789._-'.split('');

/**
 * IAM patterns that together match every repository that the configured pattern matches, and little more: their "*" and
 * "?" match slashes, too. The exact check comes after.
 *
 * @throws Error if it would take too many: a wider pattern would grant what the configuration does not.
 */
export function coarsePatterns(pattern: string): readonly string[] {
  const flat = alternatives(parseGlob(pattern), ['']);
  if (flat === undefined) {
    throw new Error(
      `${JSON.stringify(pattern)} stands for more than ${MOST_PATTERNS} patterns of IAM and EventBridge; write it with fewer choices, or as several`,
    );
  }
  // A choice that leaves a part empty names no repository.
  const named = flat.filter((one) => !/^$|^\/|\/\/|\/$/.test(one));
  return [...new Set(named.flatMap(anyDepth).map((one) => one.replace(/\*+/g, '*')))];
}

/** Each of `begun` continued by the pattern, without choices and classes; undefined if there are too many. */
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
      // Two in a row are one: "**" would mean a part here.
      return begun.map((one) => (one.endsWith('*') ? one : `${one}*`));
    case 'depth':
      return each('**');
    case 'class': {
      const accepted = NAME_CHARACTERS.filter((character) => token.accepts(character));
      const many = begun.length * accepted.length;
      if (many <= MOST_BY_CLASSES) return each(...accepted);
      // After wildcards alone, "?" could match everything.
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
 * A part `**` also matches no part at all: `a/**` matches `a`, and between two parts it may be a single "/". Each doubles the
 * number of patterns, so from the fourth on `a/**` becomes `a*`.
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
