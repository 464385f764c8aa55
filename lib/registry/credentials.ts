import { createHash } from 'node:crypto';
import { CacheError } from '../errors/cache-error.ts';
import { anonymousDomain, privateDomain, PUBLIC, type TrustDomain } from '../reference/trust-domain.ts';
import { DockerCredentials } from './docker-credentials.ts';
import { EcrCredentials } from './ecr-credentials.ts';
import { clean } from './failure.ts';
import { SecretCredentials } from './secrets-credentials.ts';
import type { KnownSecrets } from './secrets.ts';
import type { RegistrySettings } from './settings.ts';
import { SingleFlight } from '../async/single-flight.ts';

/** What proves to a registry who we are. Never logged, shown or stored. */
export type Credentials =
  | {
      readonly kind: 'basic';
      readonly username: string;
      readonly password: string;
      /** They are no UTF-8: each character is the byte of that number, as in Latin-1. */
      readonly asBytes?: true;
    }
  /** A refresh token of OAuth2, which Docker calls identity token. */
  | { readonly kind: 'identity'; readonly username?: string; readonly identityToken: string }
  /** A token of the registry itself, sent as it is: Docker's `registrytoken`. */
  | { readonly kind: 'bearer'; readonly token: string };

export interface IssuedCredentials {
  /** For the whole registry; undefined where only some namespaces have any. */
  readonly credentials: Credentials | undefined;
  /** For a namespace or repository alone (`team`, `team/app`): the most specific one wins, and all of them before those of the registry. */
  readonly namespaces?: ReadonlyMap<string, Credentials>;
  /** When to read them again, by our clock. */
  readonly untilMs: number;
}

/** One place that credentials of one registry come from. */
export interface CredentialReader {
  /** Undefined where there are none for this registry. */
  read(signal: AbortSignal): Promise<IssuedCredentials | undefined>;
  /** Names the credential without holding a secret: for the trust domain (I9). Another one for each namespace. */
  idOf(credentials: Credentials, namespace?: string): string;
  /** For messages: whose they are and where they come from, without the secret. */
  describe(credentials: Credentials): string;
}

/** Whose credentials they are: `user "bob"`, or what there is in place of a user. */
export function ownerOf(credentials: Credentials): string {
  if (credentials.kind === 'bearer') return 'the registry token';
  const { username = '' } = credentials;
  return username === '' ? 'the identity token' : `user ${JSON.stringify(clean(username))}`;
}

/** Long enough to cost nothing, short enough that a rotated secret is noticed. */
export const CREDENTIALS_KEPT_MS = 5 * 60_000;

/** The credentials of one registry, read when needed and kept for minutes. */
export class RegistryCredentials {
  readonly #settings: RegistrySettings;
  readonly #reader: CredentialReader | undefined;
  readonly #secrets: KnownSecrets;
  readonly #reading = new SingleFlight<IssuedCredentials | undefined>();
  #kept: { readonly issued: IssuedCredentials | undefined; readonly untilMs: number } | undefined;

  /** Adds to `secrets` whatever is read. */
  constructor(settings: RegistrySettings, dockerConfigPath: string | undefined, secrets: KnownSecrets) {
    this.#settings = settings;
    this.#secrets = secrets;
    this.#reader = readerOf(settings, dockerConfigPath);
  }

  /**
   * The credentials that `domain` names, or undefined where it names none; never those of another identity: what they fetch would be recorded
   * under the wrong domain (I9). A secret that was rotated is the same identity.
   *
   * @throws ConfigError if they cannot be had; UpstreamUnavailableError if that may pass; a retryable CacheError if they are somebody else's by now.
   */
  async read(domain: TrustDomain, signal: AbortSignal): Promise<Credentials | undefined> {
    const issued = await this.#read(signal);
    const holders = [[undefined, issued?.credentials] as const, ...(issued?.namespaces ?? [])];
    const found = holders.find(([namespace, credentials]) => this.#domainOf(credentials, namespace) === domain);
    if (found !== undefined) return found[1];
    const { name } = this.#settings;
    throw new CacheError(`the credentials of ${name} changed while the pull was under way; pull again`, {
      op: 'read credentials',
      origin: 'upstream',
      retryable: true,
    });
  }

  /** Reads again after `refused` were refused: undefined if nothing else is to be had. Throws as {@link read}. */
  async renew(refused: Credentials, domain: TrustDomain, signal: AbortSignal): Promise<Credentials | undefined> {
    const { credentials, namespaces } = this.#kept?.issued ?? {};
    if ([credentials, ...(namespaces?.values() ?? [])].includes(refused)) this.#kept = undefined;
    const renewed = await this.read(domain, signal);
    return JSON.stringify(renewed) === JSON.stringify(refused) ? undefined : renewed;
  }

  /** For messages: the credentials that `domain` names, as they were read last; undefined where there are none. */
  describe(domain: TrustDomain): string | undefined {
    const { credentials, namespaces } = this.#kept?.issued ?? {};
    const holders = [[undefined, credentials] as const, ...(namespaces ?? [])];
    const [, found] = holders.find(([namespace, one]) => this.#domainOf(one, namespace) === domain) ?? [];
    return found === undefined ? undefined : this.#reader?.describe(found);
  }

  /**
   * Of the repository `path`: the registry with a hash that names the credential. Without one: public where the registry is, and else the registry with a hash of
   * where it is asked, its mirrors included.
   */
  async domain(path: string, signal: AbortSignal): Promise<TrustDomain> {
    const issued = await this.#read(signal);
    for (let namespace = path; ; namespace = namespace.slice(0, namespace.lastIndexOf('/'))) {
      const credentials = issued?.namespaces?.get(namespace);
      if (credentials !== undefined) return this.#domainOf(credentials, namespace);
      if (!namespace.includes('/')) return this.#domainOf(issued?.credentials);
    }
  }

  #domainOf(credentials: Credentials | undefined, namespace?: string): TrustDomain {
    const { name, endpoint, mirrors, isPublic } = this.#settings;
    if (credentials !== undefined && this.#reader !== undefined) {
      return privateDomain(name, shortHash(this.#reader.idOf(credentials, namespace)));
    }
    return isPublic ? PUBLIC : anonymousDomain(name, shortHash([endpoint, ...mirrors].map(String).join(' ')));
  }

  async #read(signal: AbortSignal): Promise<IssuedCredentials | undefined> {
    const reader = this.#reader;
    if (reader === undefined) return undefined;
    if (this.#kept === undefined || this.#kept.untilMs <= Date.now()) {
      const issued = await this.#reading.run('', signal, (shared) => reader.read(shared));
      for (const one of [issued?.credentials, ...(issued?.namespaces?.values() ?? [])])
        this.#secrets.add(secretOf(one));
      this.#kept = { issued, untilMs: issued?.untilMs ?? Date.now() + CREDENTIALS_KEPT_MS };
    }
    return this.#kept.issued;
  }
}

function secretOf(credentials: Credentials | undefined): string | undefined {
  switch (credentials?.kind) {
    case undefined:
      return undefined;
    case 'basic':
      return credentials.password;
    case 'identity':
      return credentials.identityToken;
    case 'bearer':
      return credentials.token;
  }
}

const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

function readerOf(settings: RegistrySettings, dockerConfigPath: string | undefined): CredentialReader | undefined {
  const source = settings.credentials;
  switch (source.kind) {
    case 'none':
      return undefined;
    case 'docker':
      return dockerConfigPath === undefined ? undefined : new DockerCredentials(dockerConfigPath, settings);
    case 'secret':
      return new SecretCredentials(source.secretId);
    case 'ecr':
      return new EcrCredentials(settings, source);
  }
}
