import { clean } from './failure.ts';

/** Credentials for a registry. Never logged, shown or stored. */
export type Credentials =
  | {
      readonly kind: 'basic';
      readonly username: string;
      readonly password: string;
      /** Not UTF-8: each character stands for one byte, as in Latin-1. */
      readonly asBytes?: true;
    }
  /** A refresh token of OAuth2, which Docker calls an identity token. */
  | { readonly kind: 'identity'; readonly username?: string; readonly identityToken: string }
  /** A token of the registry itself, sent as it is: Docker's `registrytoken`. */
  | { readonly kind: 'bearer'; readonly token: string };

export interface IssuedCredentials {
  /** For the whole registry; undefined where only some namespaces have any. */
  readonly credentials: Credentials | undefined;
  /** By namespace or repository (`team`, `team/app`). The most specific one wins; the registry's come last. */
  readonly namespaces?: ReadonlyMap<string, Credentials>;
  /** When to read them again, by our clock. */
  readonly untilMs: number;
}

/** A source of credentials for one registry. */
export interface CredentialReader {
  /** Undefined if there are none for this registry. */
  read(signal: AbortSignal): Promise<IssuedCredentials | undefined>;
  /** Identifies the credential without holding a secret, for the trust domain (I9). Differs by namespace. */
  idOf(credentials: Credentials, namespace?: string): string;
  /** For messages: owner and source, without the secret. */
  describe(credentials: Credentials): string;
}

/** The owner of the credentials, for messages: `user "bob"`, or the kind of token. */
export function ownerOf(credentials: Credentials): string {
  if (credentials.kind === 'bearer') return 'the registry token';
  const { username = '' } = credentials;
  return username === '' ? 'the identity token' : `user ${JSON.stringify(clean(username))}`;
}

/** Long enough to save requests, short enough to notice a rotated secret. */
export const CREDENTIALS_KEPT_MS = 5 * 60_000;
