import manifest from '../../../package.json' with { type: 'json' };
import { CacheError } from '../../errors/cache-error.ts';
import { readInput } from '../hash-password.ts';
import { askToken } from './ask-token.ts';
import { helperSettings, type HelperSettings, hostOf } from '../../config/credential-helper.ts';

/*
 * docker-credential-entrepot: a credential helper for docker, podman, skopeo, crane and other clients of the protocol of
 * https://github.com/docker/docker-credential-helpers. It stores nothing: each `get` requests a new password.
 */

/** Clients know this text: they go on without credentials. */
const NOT_FOUND = 'credentials not found in native keychain';
const MAX_INPUT_BYTES = 64 * 1024;
const ANSWER_MS = 30_000;

export interface HelperAnswer {
  /** Clients read messages on standard output, too. */
  readonly output: string;
  readonly exitCode: 0 | 1;
}

/** Answers one call of the protocol: `get` with the server on standard input; `store` and `erase` do nothing, `list` is empty. */
export async function answerDocker(
  action: string | undefined,
  input: AsyncIterable<Buffer>,
  settings: () => HelperSettings,
  ask: typeof askToken = askToken,
): Promise<HelperAnswer> {
  switch (action) {
    case 'get':
      return await answerGet(await readInput(input, MAX_INPUT_BYTES), settings(), ask);
    case 'store':
    case 'erase':
      // Read the input, or the client fails with a broken pipe.
      await readInput(input, MAX_INPUT_BYTES);
      return { output: '', exitCode: 0 };
    case 'list':
      return { output: '{}', exitCode: 0 };
    case 'version':
      return { output: `docker-credential-entrepot (Entrepot) ${manifest.version}`, exitCode: 0 };
    case undefined:
    default:
      return { output: 'usage: docker-credential-entrepot get|store|erase|list|version', exitCode: 1 };
  }
}

async function answerGet(text: string, settings: HelperSettings, ask: typeof askToken): Promise<HelperAnswer> {
  const server = text.trim();
  // Other registries never get our password (I7), even if this helper is configured for all of them.
  if (!settings.registries.has(hostOf(server))) return { output: NOT_FOUND, exitCode: 1 };
  const { username, password } = await ask(settings, AbortSignal.timeout(ANSWER_MS));
  return { output: JSON.stringify({ ServerURL: server, Username: username, Secret: password }), exitCode: 0 };
}

/** Runs the helper on the streams of this process. */
export async function main(args: readonly string[]): Promise<void> {
  let answer: HelperAnswer;
  try {
    answer = await answerDocker(args[0], process.stdin, helperSettings);
  } catch (error) {
    answer = { output: messageOf(error), exitCode: 1 };
  }
  if (answer.output !== '') process.stdout.write(`${answer.output}\n`);
  process.exitCode = answer.exitCode;
}

/** Our own errors hold no secret (I7). */
const messageOf = (error: unknown): string =>
  `entrepot: ${error instanceof CacheError ? error.message : `unexpected ${error instanceof Error ? error.name : 'error'}`}`;

if (import.meta.main) await main(process.argv.slice(2));
