import { ForbiddenError } from '../errors/cache-error.ts';
import { globs } from '../reference/globs.ts';
import { formatRepository, type Repository } from '../reference/reference.ts';
import { valuesOfClaim } from './principal.ts';

/** Who calls the control API, as its authoriser proved it. */
export type Caller =
  /** IAM: the ARN of the principal; of an assumed role the ARN of the role (`arn:aws:iam::123456789012:role/path-less-name`). */
  | { readonly kind: 'iam'; readonly arn: string }
  /** A JWT whose issuer and audience the authoriser checked. */
  | { readonly kind: 'jwt'; readonly subject: string; readonly claims: Readonly<Record<string, unknown>> };

/** One rule of `access.rules`: callers that match `callers` may use repositories that match `repositories`. */
export interface AccessRule {
  /** Globs over the ARN of the caller, or over the values of the configured claim of a JWT; and over `user:<name>` and `group:<name>` of users with a password. */
  readonly callers: readonly string[];
  /** Globs over `<registry>/<repository>`. */
  readonly repositories: readonly string[];
}

/** The section `access` of the configuration. */
export interface AccessSettings {
  /** If set, the API accepts JWTs instead of IAM signatures. */
  readonly jwt?: {
    readonly issuer: string;
    readonly audience: readonly string[];
    /** Only callers with one of these values (globs) of the claim may call. The `callers` of the rules are matched with the same claim. */
    readonly claim: { readonly name: string; readonly list?: boolean | undefined; readonly anyOf: readonly string[] };
  };
  /** Empty: everyone whom the authoriser lets in may use every configured repository. */
  readonly rules: readonly AccessRule[];
}

/** What one caller may use. */
export interface Access {
  mayUse(repository: Repository): boolean;
}

type Matches = (text: string) => boolean;

interface CompiledRule {
  readonly callers: Matches;
  readonly repositories: Matches;
}

/** Compiled once for each configuration; a process has one. */
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

/** The same for a principal with these names: the globs of `callers` are matched with them. */
export function accessOfNames(rules: readonly AccessRule[], names: readonly string[]): Access {
  // Without rules every known caller may use everything; a caller of the wrong kind has no name.
  if (rules.length === 0) return { mayUse: () => names.length > 0 };
  const granted = rulesOf(rules).filter((rule) => names.some((name) => rule.callers(name)));
  return {
    mayUse: (repository) => {
      const name = formatRepository(repository);
      return granted.some((rule) => rule.repositories(name));
    },
  };
}

/** The names that the globs of `callers` are matched with. A caller of another kind than the settings require has none. */
function namesOf(settings: AccessSettings, caller: Caller): readonly string[] {
  if (settings.jwt === undefined) return caller.kind === 'iam' ? [caller.arn] : [];
  return caller.kind === 'jwt' ? namesOfValues(valuesOfClaim(caller.claims, settings.jwt.claim)) : [];
}

/** Values of a claim as names, without those that are reserved for users with a password and their groups. */
export const namesOfValues = (values: readonly string[]): readonly string[] =>
  values.filter((value) => !/^(?:user|group):/.test(value));

/**
 * Passes if the caller may use the repository, whether or not that, or its registry, is known.
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
