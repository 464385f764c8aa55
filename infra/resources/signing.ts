import { ref, type Resources, type Value } from '../cloudformation.ts';
import type { StackSettings } from '../settings.ts';

const SECRET = 'SigningSecret';

/** Its ARN: no secret itself. */
export const signingSecretArn: Value = ref(SECRET);

/**
 * The key that signs passwords: generated in the account, and read by the function `api` alone. It is deleted with the stack, because a new stack
 * generates its own. It has no name: the name of a deleted secret stays taken for a while.
 */
export function signing({ kmsKeyArn }: StackSettings): Resources {
  return {
    [SECRET]: {
      Type: 'AWS::SecretsManager::Secret',
      DeletionPolicy: 'Delete',
      UpdateReplacePolicy: 'Delete',
      Properties: {
        Description: 'Signs the short-lived passwords of the cache. To replace it, put 32 or more random characters.',
        GenerateSecretString: { PasswordLength: 64, ExcludePunctuation: true },
        ...(kmsKeyArn === undefined ? {} : { KmsKeyId: kmsKeyArn }),
      },
    },
  };
}
