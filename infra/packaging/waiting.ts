import { GetAccountSettingsCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import type { Config } from '../../lib/config/config.ts';
import type { StackSettings } from '../settings.ts';

const ASK_MS = 10_000;

/** Where callers that wait could take every invocation, none is left for hits. */
const SHARE_THAT_WAITS = 0.5;

/**
 * What to say of `serve.waiting` before the application is deployed into the account of `client`: each caller that waits for a blob keeps one invocation of
 * the registry endpoint, and half of those that it may have is a good bound. Where the account cannot be asked, that is what is said.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html
 */
export async function waitingAdvice(
  client: LambdaClient,
  { serve: { waiting } }: Pick<Config, 'serve'>,
  settings: Pick<StackSettings, 'copyConcurrency' | 'registryConcurrency'>,
  signal: AbortSignal,
): Promise<string> {
  const { registryConcurrency } = settings;
  if (registryConcurrency !== undefined) {
    return adviceFor(waiting, registryConcurrency, `registryConcurrency is ${registryConcurrency}`);
  }
  try {
    const asked = new GetAccountSettingsCommand({});
    const { AccountLimit } = await client.send(asked, {
      abortSignal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
    });
    const { ConcurrentExecutions: all, UnreservedConcurrentExecutions: unreserved } = AccountLimit ?? {};
    if (all === undefined || unreserved === undefined) throw new Error('the answer has no limits');
    // When this stack is there already, what it reserves is not among the unreserved any more.
    const usable = Math.min(unreserved, all - (settings.copyConcurrency ?? 0));
    return adviceFor(
      waiting,
      usable,
      `this account leaves ${Math.max(0, usable)} of its ${all} concurrent invocations to it`,
    );
  } catch (error) {
    signal.throwIfAborted();
    return `serve.waiting is ${waiting}; whether this account's concurrency allows that could not be found out: ${(error as Error).message}`;
  }
}

function adviceFor(waiting: number, usable: number, reason: string): string {
  const most = Math.max(1, Math.floor(usable * SHARE_THAT_WAITS));
  if (waiting <= most) return `serve.waiting is ${waiting}; ${reason}, so that up to ${most} would do`;
  return `serve.waiting is ${waiting}, which is too many: ${reason}. Write "serve: {waiting: ${most}}" into the configuration, or let the registry endpoint have more`;
}
