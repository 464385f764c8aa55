import type { ECRClientConfig } from '@aws-sdk/client-ecr';
import { CacheError, ConfigError, CredentialsError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { CredentialReader, IssuedCredentials } from './credential-reader.ts';
import { type CredentialSource, parseEcrHost, type RegistrySettings } from './settings.ts';

const OP = 'get ECR token';
/** ECR's tokens live 12 h. They are renewed half an hour early, so that none expires during a pull. */
const MARGIN_MS = 30 * 60_000;
const FALLBACK_LIFETIME_MS = 60 * 60_000;

/** Tokens of Amazon ECR for one registry, as Basic credentials, optionally through another account's role. */
export class EcrCredentials implements CredentialReader {
  readonly #registry: string;
  readonly #source: Extract<CredentialSource, { kind: 'ecr' }>;
  readonly #account: { readonly accountId: string; readonly region: string };

  /** @throws ConfigError if neither name nor endpoint is an ECR registry. */
  constructor(
    settings: Pick<RegistrySettings, 'name' | 'endpoint'>,
    source: Extract<CredentialSource, { kind: 'ecr' }>,
  ) {
    const account = parseEcrHost(settings.name) ?? parseEcrHost(settings.endpoint.hostname);
    if (account === undefined) {
      throw new ConfigError(
        `registry ${settings.name} has "credentials: ecr", but neither its name nor its endpoint is <account>.dkr.ecr.<region>.amazonaws.com`,
      );
    }
    this.#registry = settings.name;
    this.#source = source;
    this.#account = account;
  }

  async read(signal: AbortSignal): Promise<IssuedCredentials> {
    const { token, expiresAt } = await this.#getToken(signal);
    const decoded = Buffer.from(token, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon < 1) throw new UpstreamUnavailableError(OP, `ECR returned no usable token for ${this.#registry}`);
    const nowMs = Date.now();
    const lifetimeMs = expiresAt === undefined ? FALLBACK_LIFETIME_MS : expiresAt.getTime() - nowMs;
    return {
      credentials: { kind: 'basic', username: decoded.slice(0, colon), password: decoded.slice(colon + 1) },
      untilMs: nowMs + Math.max(lifetimeMs - MARGIN_MS, lifetimeMs / 2),
    };
  }

  describe(): string {
    const { roleArn } = this.#source;
    return `Amazon ECR's token for account ${this.#account.accountId}${roleArn === undefined ? '' : `, by role ${roleArn}`}`;
  }

  idOf(): string {
    return `ecr ${this.#account.accountId} ${this.#account.region} ${this.#source.roleArn ?? ''}`;
  }

  async #getToken(signal: AbortSignal): Promise<{ token: string; expiresAt: Date | undefined }> {
    try {
      const { ECRClient, GetAuthorizationTokenCommand } = await import('@aws-sdk/client-ecr');
      const role = await this.#assumeRole(signal);
      const client = new ECRClient({
        region: this.#account.region,
        ...(role === undefined ? {} : { credentials: role }),
      });
      try {
        const answer = await client.send(new GetAuthorizationTokenCommand({}), { abortSignal: signal });
        const [first] = answer.authorizationData ?? [];
        return { token: first?.authorizationToken ?? '', expiresAt: first?.expiresAt };
      } finally {
        client.destroy();
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof CacheError) throw error;
      const name = error instanceof Error ? error.name : 'unknown error';
      const message = `no ECR token for ${this.#registry}: ${name}; the role needs ecr:GetAuthorizationToken, and sts:AssumeRole where "roleArn" is set`;
      if (/AccessDenied|InvalidParameter|Credentials|UnrecognizedClient|ValidationError/.test(name)) {
        throw new CredentialsError(message, error);
      }
      throw new UpstreamUnavailableError(OP, message, { cause: error });
    }
  }

  async #assumeRole(signal: AbortSignal): Promise<ECRClientConfig['credentials'] | undefined> {
    const { roleArn, externalId } = this.#source;
    if (roleArn === undefined) return undefined;
    const { STSClient, AssumeRoleCommand } = await import('@aws-sdk/client-sts');
    const client = new STSClient({ region: this.#account.region });
    try {
      const command = new AssumeRoleCommand({
        RoleArn: roleArn,
        RoleSessionName: 'entrepot',
        ...(externalId === undefined ? {} : { ExternalId: externalId }),
      });
      const { Credentials: role } = await client.send(command, { abortSignal: signal });
      if (role?.AccessKeyId === undefined || role.SecretAccessKey === undefined) {
        throw new UpstreamUnavailableError(OP, `STS returned no credentials for ${roleArn}`);
      }
      return {
        accessKeyId: role.AccessKeyId,
        secretAccessKey: role.SecretAccessKey,
        ...(role.SessionToken === undefined ? {} : { sessionToken: role.SessionToken }),
      };
    } finally {
      client.destroy();
    }
  }
}
