import picomatch from 'picomatch';
import { ForbiddenError } from '../errors/cache-error.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import type { Access, AccessSettings, Caller } from './access.ts';
import { valuesOfClaim } from './caller.ts';

type Matches = (text: string) => boolean;

interface CompiledRules {
  /** Undefined where IAM alone says who may call at all. */
  readonly mayCall: Matches | undefined;
  readonly rules: readonly { readonly callers: Matches; readonly repositories: Matches }[];
}

/** A "!" is a character, not a negation: a list of what may, one of whose entries allows all but one thing, would be read wrongly. */
const globs = (patterns: readonly string[]): Matches =>
  patterns.length === 0 ? () => false : picomatch([...patterns], { nonegate: true, dot: true });

/** Of each configuration once: there is one in the life of a process. */
const compiled = new WeakMap<AccessSettings, CompiledRules>();

function compile(settings: AccessSettings): CompiledRules {
  const known = compiled.get(settings);
  if (known !== undefined) return known;
  const rules: CompiledRules = {
    mayCall: settings.jwt === undefined ? undefined : globs(settings.jwt.claim.anyOf),
    rules: settings.rules.map((rule) => ({ callers: globs(rule.callers), repositories: globs(rule.repositories) })),
  };
  compiled.set(settings, rules);
  return rules;
}

/**
 * What the caller may use: by the rules that name it, or everything that is configured where there are no rules.
 *
 * @throws ForbiddenError if the rule for the JWT's claim does not hold: then not even an empty answer.
 */
export function accessOf(settings: AccessSettings, caller: Caller): Access {
  const { mayCall, rules } = compile(settings);
  const names = namesOf(settings, caller);
  if (mayCall !== undefined && !names.some((name) => mayCall(name))) {
    throw new ForbiddenError(
      'check access',
      `the claim ${JSON.stringify(settings.jwt?.claim.name)} of the token has none of the values that may call this API`,
    );
  }
  // Without rules whoever is known may use everything; a caller of the wrong kind has no name.
  if (rules.length === 0) return { mayUse: () => names.length > 0 };
  const granted = rules.filter((rule) => names.some((name) => rule.callers(name)));
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
  return caller.kind === 'jwt' ? valuesOfClaim(caller.claims, settings.jwt.claim) : [];
}

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
