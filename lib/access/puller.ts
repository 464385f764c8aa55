import type { Repository } from '../reference/reference.ts';

/** Who pulls by the registry endpoint, and what of. */
export interface Puller {
  /** For the log: `user:ci`, an ARN, or `anyone`. No secret. */
  readonly name: string;
  mayUse(repository: Repository): boolean;
}

/** Finds out who pulls. */
export interface Doorkeeper {
  /** What a 401 asks for: the value of `WWW-Authenticate`. Undefined where nobody has to say who they are. */
  readonly challenge: string | undefined;
  /**
   * Who the header `Authorization` belongs to.
   *
   * @throws UnauthenticatedError if it is missing where it is needed, or proves nothing; CacheError (retryable) where that could not be found out.
   */
  admit(authorization: string | undefined, signal: AbortSignal): Promise<Puller>;
}

/** The section `serve.auth` of the configuration. */
export type InboundAuth =
  /** Whoever reaches the door may pull whatever the configuration allows: the network is the boundary. */
  | { readonly kind: 'none' }
  | {
      readonly kind: 'basic';
      /** Where the users are: a file (relative to the configuration's), or a secret of Secrets Manager. Without users only minted passwords are taken. */
      readonly users?: { readonly file: string } | { readonly secretId: string };
    };
