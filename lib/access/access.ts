import type { Repository } from '../reference/reference.ts';

/** Who calls the control API, as its authoriser proved it. */
export type Caller =
  /** IAM: the ARN of the principal; of an assumed role the ARN of the role (`arn:aws:iam::123456789012:role/path-less-name`). */
  | { readonly kind: 'iam'; readonly arn: string }
  /** A JWT whose issuer and audience the authoriser checked. */
  | { readonly kind: 'jwt'; readonly subject: string; readonly claims: Readonly<Record<string, unknown>> };

/** One line of `access.rules`: whoever matches `callers` may use what matches `repositories`. */
export interface AccessRule {
  /** Globs over the ARN of the caller, or over the values of the configured claim of a JWT; and over `user:<name>` and `group:<name>` of users with a password. */
  readonly callers: readonly string[];
  /** Globs over `<registry>/<repository>`. */
  readonly repositories: readonly string[];
}

/** The section `access` of the configuration. */
export interface AccessSettings {
  /** With it the API takes JWTs instead of IAM signatures. */
  readonly jwt?: {
    readonly issuer: string;
    readonly audience: readonly string[];
    /** The claim that says who may call at all, and the values that may (globs); it is also what `callers` of the rules are matched with. */
    readonly claim: { readonly name: string; readonly list?: boolean | undefined; readonly anyOf: readonly string[] };
  };
  /** None: whoever the authoriser lets in may use every repository of the configuration. */
  readonly rules: readonly AccessRule[];
}

/** What one caller may use. */
export interface Access {
  mayUse(repository: Repository): boolean;
}
