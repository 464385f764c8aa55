import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { CredentialsError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import {
  CREDENTIALS_KEPT_MS,
  ownerOf,
  type CredentialReader,
  type Credentials,
  type IssuedCredentials,
} from './credential-reader.ts';

const OP = 'read credentials';
/** Errors that no retry fixes. */
const LASTING = new Set([
  'AccessDeniedException',
  'DecryptionFailure',
  'InvalidParameterException',
  'InvalidRequestException',
  'ResourceNotFoundException',
  'CredentialsProviderError',
  'UnrecognizedClientException',
]);

/** Credentials from AWS Secrets Manager: JSON `{"username", "password"}` or `{"identityToken"}`. */
export class SecretCredentials implements CredentialReader {
  readonly #secretId: string;
  #client: Promise<SecretsManagerClient> | undefined;

  constructor(secretId: string) {
    this.#secretId = secretId;
  }

  async read(signal: AbortSignal): Promise<IssuedCredentials> {
    const text = await this.#readText(signal);
    const untilMs = Date.now() + CREDENTIALS_KEPT_MS;
    const { username, password, identityToken } = parseSecret(text);
    if (typeof identityToken === 'string' && identityToken !== '') {
      return { credentials: { kind: 'identity', identityToken }, untilMs };
    }
    if (typeof username === 'string' && username !== '' && typeof password === 'string') {
      return { credentials: { kind: 'basic', username, password }, untilMs };
    }
    throw new CredentialsError(
      `secret ${this.#secretId} must hold JSON with "username" and "password", or with "identityToken"`,
    );
  }

  describe(credentials: Credentials): string {
    return `${ownerOf(credentials)} of secret ${this.#secretId}`;
  }

  idOf(): string {
    return `secret ${this.#secretId}`;
  }

  async #readText(signal: AbortSignal): Promise<string | undefined> {
    // Loaded on use: most pulls need no secret, and the import slows a cold start.
    const { SecretsManagerClient, GetSecretValueCommand } = await import('@aws-sdk/client-secrets-manager');
    const region = /^arn:[^:]+:secretsmanager:([^:]+):/.exec(this.#secretId)?.[1];
    const client = await (this.#client ??= Promise.resolve(
      new SecretsManagerClient(region === undefined ? {} : { region }),
    ));
    try {
      const command = new GetSecretValueCommand({ SecretId: this.#secretId });
      return (await client.send(command, { abortSignal: signal })).SecretString;
    } catch (error) {
      signal.throwIfAborted();
      const name = error instanceof Error ? error.name : 'unknown error';
      const message = `secret ${this.#secretId} cannot be read from Secrets Manager: ${name}`;
      if (LASTING.has(name)) throw new CredentialsError(message, error);
      throw new UpstreamUnavailableError(OP, message, { cause: error });
    }
  }
}

/** The text is the secret, so no error may quote it. */
function parseSecret(text: string | undefined): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text ?? '');
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}
