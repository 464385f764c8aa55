/** What only our globs know: IAM and EventBridge have `*` alone, which crosses "/". */
const SPECIAL = /[?{}[\]()!+@|\\]/;

/**
 * Patterns of IAM and EventBridge that together match whatever the glob over a repository's path matches, and as little more as they can say: for a coarse
 * sieve in front of the exact one.
 */
export function coarsePatterns(glob: string): readonly string[] {
  const special = glob.search(SPECIAL);
  // What follows may match nothing at all, so a part that begins with it may be no part.
  const known = special < 0 ? glob : `${glob.slice(0, special)}*`.replace(/(^|\/)\*$/, '$1**');
  return [...new Set(anyDepth(known).map((pattern) => pattern.replace(/\*+/g, '*')))];
}

/** A part `**` also stands for no part at all: `a/**` is `a` too, `**` before a name is nothing too, and in between it is one "/". */
function anyDepth(glob: string): readonly string[] {
  const [first = '', ...others] = glob.split('/');
  return others
    .reduce<readonly string[]>(
      (begun, part) => begun.flatMap((one) => (part === '**' ? [one, joined(one, '*')] : [joined(one, part)])),
      first === '**' && others.length > 0 ? ['', '*'] : [first],
    )
    .filter((pattern) => pattern !== '');
}

const joined = (before: string, part: string): string => (before === '' ? part : `${before}/${part}`);
