import { GetAccountSettingsCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import type { Config } from '../../lib/config/config.ts';
import type { StackSettings } from '../settings.ts';

const ASK_MS = 10_000;

/** If waiting callers could take every invocation, none would be left for hits. */
const SHARE_THAT_WAITS = 0.5;

/**
 * Advice on `serve.waiting` for the account of `client`: each caller that waits for a blob keeps one invocation of the registry endpoint busy, and
 * half of the available ones is a good bound. If the account cannot be asked, the advice says so.
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
    // If this stack is already deployed, its reservation is not among the unreserved ones.
    const usable = Math.min(unreserved, all - (settings.copyConcurrency ?? 0));
    return adviceFor(
      waiting,
      usable,
      `this account has ${Math.max(0, usable)} of its ${all} concurrent invocations left for it`,
    );
  } catch (error) {
    signal.throwIfAborted();
    return `serve.waiting is ${waiting}; this account's concurrency could not be read: ${(error as Error).message}`;
  }
}

function adviceFor(waiting: number, usable: number, reason: string): string {
  const most = Math.max(1, Math.floor(usable * SHARE_THAT_WAITS));
  if (waiting <= most) return `serve.waiting is ${waiting}; ${reason}, so up to ${most} is fine`;
  return `serve.waiting is ${waiting}, which is too many: ${reason}. Write "serve: {waiting: ${most}}" into the configuration, or give the registry endpoint more`;
}
