import { createHash } from 'node:crypto';
import { CacheError } from '../errors/cache-error.ts';
import { anonymousDomain, privateDomain, PUBLIC, type TrustDomain } from '../reference/trust-domain.ts';
import {
  type CredentialReader,
  type Credentials,
  CREDENTIALS_KEPT_MS,
  type IssuedCredentials,
} from './credential-reader.ts';
import { DockerCredentials } from './docker-credentials.ts';
import { EcrCredentials } from './ecr-credentials.ts';
import { SecretCredentials } from './secrets-credentials.ts';
import type { KnownSecrets } from './secrets.ts';
import type { RegistrySettings } from './settings.ts';
import { SingleFlight } from '../async/single-flight.ts';

/** The credentials of one registry, read when needed and kept for minutes. */
export class RegistryCredentials {
  readonly #settings: RegistrySettings;
  readonly #reader: CredentialReader | undefined;
  readonly #secrets: KnownSecrets;
  readonly #reading = new SingleFlight<IssuedCredentials | undefined>();
  #kept: { readonly issued: IssuedCredentials | undefined; readonly untilMs: number } | undefined;

  /** Adds all secrets that it reads to `secrets`. */
  constructor(settings: RegistrySettings, dockerConfigPath: string | undefined, secrets: KnownSecrets) {
    this.#settings = settings;
    this.#secrets = secrets;
    this.#reader = readerOf(settings, dockerConfigPath);
  }

  /**
   * The credentials of `domain`, or undefined if it has none. Never those of another identity: their content would be recorded
   * under the wrong domain (I9). A rotated secret is the same identity.
   *
   * @throws ConfigError if they are unavailable; UpstreamUnavailableError if that may pass; a retryable CacheError if they now
   * belong to another identity.
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

  /** Reads again after `refused` were refused; undefined if there are no others. Throws as {@link read}. */
  async renew(refused: Credentials, domain: TrustDomain, signal: AbortSignal): Promise<Credentials | undefined> {
    const { credentials, namespaces } = this.#kept?.issued ?? {};
    if ([credentials, ...(namespaces?.values() ?? [])].includes(refused)) this.#kept = undefined;
    const renewed = await this.read(domain, signal);
    return JSON.stringify(renewed) === JSON.stringify(refused) ? undefined : renewed;
  }

  /** For messages: the last known credentials of `domain`; undefined if there are none. */
  describe(domain: TrustDomain): string | undefined {
    const { credentials, namespaces } = this.#kept?.issued ?? {};
    const holders = [[undefined, credentials] as const, ...(namespaces ?? [])];
    const [, found] = holders.find(([namespace, one]) => this.#domainOf(one, namespace) === domain) ?? [];
    return found === undefined ? undefined : this.#reader?.describe(found);
  }

  /**
   * The trust domain of the repository `path`: the registry and a hash of the credential's identity. Without credentials it is
   * public for a public registry, and otherwise the registry and a hash of its endpoint and mirrors.
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
