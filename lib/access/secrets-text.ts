import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { CacheError, CredentialsError } from '../errors/cache-error.ts';

/** Errors that no retry can mend. */
const LASTING = new Set([
  'AccessDeniedException',
  'DecryptionFailure',
  'InvalidParameterException',
  'InvalidRequestException',
  'ResourceNotFoundException',
  'CredentialsProviderError',
  'UnrecognizedClientException',
]);

/**
 * Reads the text of a secret of AWS Secrets Manager, by its name or ARN, anew each time.
 *
 * @throws CredentialsError where no retry mends it; CacheError (retryable) otherwise. Neither holds anything of the secret.
 */
export function secretText(secretId: string): (signal: AbortSignal) => Promise<string> {
  let client: SecretsManagerClient | undefined;
  return async (signal) => {
    const { SecretsManagerClient, GetSecretValueCommand } = await import('@aws-sdk/client-secrets-manager');
    const region = /^arn:[^:]+:secretsmanager:([^:]+):/.exec(secretId)?.[1];
    client ??= new SecretsManagerClient(region === undefined ? {} : { region });
    try {
      const command = new GetSecretValueCommand({ SecretId: secretId });
      const { SecretString } = await client.send(command, { abortSignal: signal });
      return SecretString ?? '';
    } catch (cause) {
      const name = cause instanceof Error ? cause.name : 'unknown error';
      const message = `secret ${secretId} cannot be read from Secrets Manager: ${name}`;
      if (LASTING.has(name)) throw new CredentialsError(message, cause);
      throw new CacheError(message, { op: 'read secret', origin: 'store', retryable: true, cause });
    }
  };
}
