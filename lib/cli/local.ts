import { loadConfig } from '../config/config.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';

/** Keeps the embedded stack running until the signal, and prints what other programs need to use it. */
export async function runLocal(output: Output, signal: AbortSignal): Promise<ExitCode> {
  const { store } = loadConfig();
  if (store.kind !== 'local') {
    throw new ConfigError(
      'ENTREPOT_BUCKET and ENTREPOT_TABLE name a store already; unset them to run the embedded stack',
    );
  }
  // Loaded only here and in cache.ts: the embedded stack is no part of what runs on AWS.
  const { openLocalStack, stackEnvironment } = await import('../../infra/local/connect.ts');
  await using stack = await openLocalStack(store.home, { signal });
  const variables = stackEnvironment(stack);
  output.result(variables, [
    `S3         ${stack.s3Endpoint}  bucket ${stack.bucket}`,
    `DynamoDB   ${stack.dynamoEndpoint}  table ${stack.table}`,
    `state      ${store.home}`,
    '',
    'For other programs:',
    ...Object.entries(variables).map(([name, value]) => `  export ${name}=${value}`),
  ]);
  output.note('\nRunning until Ctrl-C.');
  // A held connection does not keep the process alive; this timer does.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  clearInterval(alive);
  return EXIT.done;
}
