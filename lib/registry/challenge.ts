/** One challenge of a `WWW-Authenticate` header: RFC 9110, section 11.6.1. */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** By lower-case name. The first of a repeated name counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const SEPARATORS = /[\s,]*/y;
const WORD = /[^\s,="]+/y;
const EQUALS = /\s*=\s*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)(?:"|$)/sy;
/** Some registries leave the quotes out, also around URLs. */
const BARE = /[^\s,]*/y;

/**
 * All challenges of the header, in order. Never throws: what makes no sense is left out.
 *
 * Survives commas and escapes in quoted values, several challenges in one header or in several, any case, missing quotes and a missing last quote.
 */
export function parseChallenges(header: string | readonly string[] | undefined): readonly Challenge[] {
  const lines = header === undefined ? [] : typeof header === 'string' ? [header] : header;
  return lines.flatMap(parseLine);
}

function parseLine(line: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(line);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };
  while (at < line.length) {
    take(SEPARATORS);
    const word = take(WORD)?.[0];
    if (word === undefined) {
      at++;
      continue;
    }
    // A word with "=" behind it is a parameter of the last scheme; without, it is the next scheme.
    if (take(EQUALS) === null) {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    const quoted = take(QUOTED);
    const value = quoted === null ? (take(BARE)?.[0] ?? '') : (quoted[1] ?? '').replace(/\\(.)/gs, '$1');
    const parameters = challenges.at(-1)?.parameters;
    if (parameters?.has(word.toLowerCase()) === false) parameters.set(word.toLowerCase(), value);
  }
  return challenges;
}
