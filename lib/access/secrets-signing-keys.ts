import { derivedKeys } from './derived-keys.ts';
import { secretText } from './secrets-text.ts';
import type { SigningKeys } from './signing-key.ts';

/** The keys of a deployment, from the text of a secret of AWS Secrets Manager, which is read by the first use and again every few minutes. */
export const secretsSigningKeys = (secretId: string): SigningKeys =>
  derivedKeys(`secret ${secretId}`, secretText(secretId));
