import { ForbiddenError } from '../errors/cache-error.ts';
import { globs } from '../reference/globs.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import type { Access, AccessRule, AccessSettings, Caller } from './access.ts';
import { valuesOfClaim } from './caller.ts';

type Matches = (text: string) => boolean;

interface CompiledRule {
  readonly callers: Matches;
  readonly repositories: Matches;
}

/** Of each configuration once: there is one in the life of a process. */
const compiledRules = new WeakMap<readonly AccessRule[], readonly CompiledRule[]>();
const compiledClaims = new WeakMap<readonly string[], Matches>();

const rulesOf = (rules: readonly AccessRule[]): readonly CompiledRule[] =>
  once(compiledRules, rules, () =>
    rules.map(({ callers, repositories }) => ({ callers: globs(callers), repositories: globs(repositories) })),
  );

function once<K extends object, V>(known: WeakMap<K, V>, key: K, make: () => V): V {
  const found = known.get(key) ?? make();
  known.set(key, found);
  return found;
}

/**
 * What the caller may use: by the rules that name it, or everything that is configured where there are no rules.
 *
 * @throws ForbiddenError if the rule for the JWT's claim does not hold: then not even an empty answer.
 */
export function accessOf(settings: AccessSettings, caller: Caller): Access {
  const { jwt, rules } = settings;
  const names = namesOf(settings, caller);
  if (jwt !== undefined) {
    const mayCall = once(compiledClaims, jwt.claim.anyOf, () => globs(jwt.claim.anyOf));
    if (!names.some((name) => mayCall(name))) {
      throw new ForbiddenError(
        'check access',
        `the claim ${JSON.stringify(jwt.claim.name)} of the token has none of the values that may call this API`,
      );
    }
  }
  return accessOfNames(rules, names);
}

/** The same for somebody who has these names: what the globs of `callers` are matched with. */
export function accessOfNames(rules: readonly AccessRule[], names: readonly string[]): Access {
  // Without rules whoever is known may use everything; a caller of the wrong kind has no name.
  if (rules.length === 0) return { mayUse: () => names.length > 0 };
  const granted = rulesOf(rules).filter((rule) => names.some((name) => rule.callers(name)));
  return {
    mayUse: (repository) => {
      const name = formatRepository(repository);
      return granted.some((rule) => rule.repositories(name));
    },
  };
}

/** What the globs of `callers` are matched with. A caller of the other kind than the settings ask for has no name. */
function namesOf(settings: AccessSettings, caller: Caller): readonly string[] {
  if (settings.jwt === undefined) return caller.kind === 'iam' ? [caller.arn] : [];
  return caller.kind === 'jwt' ? namesOfValues(valuesOfClaim(caller.claims, settings.jwt.claim)) : [];
}

/** Values of a claim as names. Those of users with a password, and of their groups, are not for a token to take. */
export const namesOfValues = (values: readonly string[]): readonly string[] =>
  values.filter((value) => !/^(?:user|group):/.test(value));

/**
 * Passes if the caller may use the repository. Says nothing of whether it, or its registry, is known.
 *
 * @throws ForbiddenError
 */
export function checkMayUse(access: Access, repository: Repository): void {
  if (access.mayUse(repository)) return;
  throw new ForbiddenError(
    'check access',
    `this caller may not use ${formatRepository(repository)}; ask for a rule under "access.rules" of the configuration`,
  );
}
