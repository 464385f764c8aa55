import { CacheError, InvalidRequestError } from '../../errors/cache-error.ts';
import { readInput } from '../hash-password.ts';
import { askToken } from './ask-token.ts';
import { helperSettings, type HelperSettings, hostOf } from '../../config/credential-helper.ts';

/*
 * kubelet-credential-entrepot: an image credential provider of the kubelet,
 * https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/
 */

const API_VERSION = 'credentialprovider.kubelet.k8s.io/v1';
const MAX_INPUT_BYTES = 64 * 1024;
const ANSWER_MS = 30_000;
/** The kubelet stops using a password this long before it expires: a pull needs it until its last blob. */
const KEPT_BEFORE_END_SECONDS = 900;

/** Answers one CredentialProviderRequest: with a password if the image is at the configured endpoint, else without. */
export async function answerKubelet(
  input: AsyncIterable<Buffer>,
  settings: HelperSettings,
  ask: typeof askToken = askToken,
): Promise<object> {
  const host = hostOf(imageOf(await readInput(input, MAX_INPUT_BYTES)));
  const answer = { apiVersion: API_VERSION, kind: 'CredentialProviderResponse', cacheKeyType: 'Registry' };
  if (!settings.registries.has(host)) return { ...answer, cacheDuration: '0s', auth: {} };
  const { username, password, expiresAt } = await ask(settings, AbortSignal.timeout(ANSWER_MS));
  const leftSeconds = Math.floor((Date.parse(expiresAt) - Date.now()) / 1000);
  const cacheSeconds = Math.max(0, Math.min(leftSeconds - KEPT_BEFORE_END_SECONDS, settings.lifetimeSeconds));
  return { ...answer, cacheDuration: `${cacheSeconds}s`, auth: { [host]: { username, password } } };
}

function imageOf(text: string): string {
  let request: unknown;
  try {
    request = JSON.parse(text);
  } catch {
    request = undefined;
  }
  const { apiVersion, kind, image } = { ...(request as Readonly<Record<string, unknown>> | undefined) };
  if (apiVersion === API_VERSION && kind === 'CredentialProviderRequest' && typeof image === 'string') return image;
  throw new InvalidRequestError('stdin', `standard input is not a CredentialProviderRequest of ${API_VERSION}`);
}

/** Runs the provider on the streams of this process. */
export async function main(): Promise<void> {
  try {
    process.stdout.write(`${JSON.stringify(await answerKubelet(process.stdin, helperSettings()))}\n`);
  } catch (error) {
    // Our own errors hold no secret (I7).
    const known = error instanceof CacheError ? error.message : 'unexpected error';
    process.stderr.write(`kubelet-credential-entrepot: ${known}\n`);
    process.exitCode = 1;
  }
}

if (import.meta.main) await main();
