import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { UpstreamUnavailableError } from '../errors/cache-error.ts';
import { remoteFetcher } from './fetch-document.ts';
import type { Fetcher } from './fetcher.ts';

const OP = 'ask registry';
/** Longer than the function takes. Callers have shorter deadlines of their own. */
const ANSWER_MS = 25_000;

export interface LambdaConnection {
  /** Where Lambda is, if not where the SDK's own variables say. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

export interface LambdaFetcher extends Fetcher {
  close(): void;
}

/**
 * Invokes the function that asks registries (functions/fetch.ts), and waits for its answer. If it cannot be invoked, that counts as a registry that does not
 * answer: stale tags are served where their policy allows it.
 */
export function lambdaFetcher(functionName: string, connection: LambdaConnection = {}): LambdaFetcher {
  const client = new LambdaClient({
    ...connection,
    maxAttempts: 3,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 2_000,
      requestTimeout: ANSWER_MS,
      throwOnRequestTimeout: true,
    }),
  });
  const fetcher = remoteFetcher(async (question, signal) => {
    signal.throwIfAborted();
    const command = new InvokeCommand({ FunctionName: functionName, Payload: Buffer.from(JSON.stringify(question)) });
    let answer;
    try {
      answer = await client.send(command, { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw new UpstreamUnavailableError(
        OP,
        `the function that asks registries could not be invoked: ${nameOf(error)}`,
        {
          cause: error,
        },
      );
    }
    const payload = Buffer.from(answer.Payload ?? []).toString('utf8');
    if (answer.FunctionError === undefined) return parsed(payload);
    throw new UpstreamUnavailableError(OP, 'the function that asks registries failed; its log says why', {
      cause: new Error(`${answer.FunctionError}: ${payload.slice(0, 1_000)}`),
    });
  });
  return { ...fetcher, close: () => client.destroy() };
}

function parsed(payload: string): unknown {
  try {
    return JSON.parse(payload) as unknown;
  } catch (cause) {
    throw new UpstreamUnavailableError(OP, 'the function that asks registries did not answer with JSON', { cause });
  }
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : 'unknown');
