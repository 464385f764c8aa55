import { derivedSigningKey } from './derived-key.ts';
import { secretText } from './secrets-text.ts';
import type { SigningKey } from './signing-key.ts';

/** The key of a deployment, from the text of a secret of AWS Secrets Manager, which is read by the first use and again every few minutes. */
export const secretsSigningKey = (secretId: string): SigningKey =>
  derivedSigningKey(`secret ${secretId}`, secretText(secretId));
