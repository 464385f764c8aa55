import type { Config } from '../config/config.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { formatReference } from '../reference/reference.ts';
import { cacheName, configured } from './configured.ts';
import { exampleReference, pullHints } from './hints.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';

export interface LocalOptions {
  /** The whole application, not only its S3 and DynamoDB. */
  readonly all: boolean;
  /** Of the HTTP API; 0: any free one. */
  readonly port: number;
  /** ARN of the principal that the HTTP API sees. */
  readonly caller: string;
}

/** Keeps the embedded stack, or the whole application on it, running until the signal, and prints what other programs need to use it. */
export async function runLocal(options: LocalOptions, output: Output, signal: AbortSignal): Promise<ExitCode> {
  const config = configured(output);
  const { store } = config;
  if (store.kind !== 'local') {
    throw new ConfigError(
      'ENTREPOT_BUCKET and ENTREPOT_TABLE name a store already; unset them to run the embedded stack',
    );
  }
  // Loaded only here and in cache.ts: the embedded stack is no part of what runs on AWS.
  const { openLocalStack, stackEnvironment } = await import('../../infra/local/connect.ts');
  output.status(`starting ${cacheName(store)}`);
  await using stack = await openLocalStack(store.home, { signal });
  const places = [
    `S3         ${stack.s3Endpoint}  bucket ${stack.bucket}`,
    `DynamoDB   ${stack.dynamoEndpoint}  table ${stack.table}`,
    `state      ${store.home}`,
  ];
  if (!options.all) {
    output.status(undefined);
    const variables = stackEnvironment(stack);
    output.result(variables, [...places, ...exportLines(variables)]);
    await untilInterrupted(output, signal);
    return EXIT.done;
  }
  const { startApplication } = await import('../../infra/local/app/application.ts');
  const { port, caller: callerArn } = options;
  await using application = await startApplication({
    home: store.home,
    stack,
    config,
    port,
    callerArn,
    onStep: (step) => output.status(step),
  });
  output.status(undefined);
  const { origin, environment } = application;
  output.result({ origin, ...environment }, [
    `HTTP API   ${origin}/v1  for ${callerArn}`,
    ...places,
    `logs       ${store.home}/logs`,
    ...exportLines(environment),
    ...examples(origin, config),
  ]);
  await untilInterrupted(output, signal);
  output.note('\nStopping.');
  output.status('waiting for the functions to end');
  return EXIT.done;
}

const exportLines = (variables: Readonly<Record<string, string>>): readonly string[] => [
  '',
  'For other programs:',
  ...Object.entries(variables).map(([name, value]) => `  export ${name}=${value}`),
];

function examples(origin: string, config: Config): readonly string[] {
  const [registry] = config.registries.values();
  const example = exampleReference(config);
  const image = example === undefined ? `${registry?.name ?? 'REGISTRY'}/REPOSITORY:TAG` : formatReference(example);
  const [warmup] = config.warmups;
  return [
    '',
    'Try:',
    `  curl -i ${origin}/v1/pull -H 'content-type: application/json' -d '{"reference":"${image}","platforms":["linux/amd64"]}'`,
    ...pullHints(new URL(origin).host, config, example),
    `  curl -s ${origin}/v1/images`,
    `  curl -s ${origin}/_local/functions`,
    ...(warmup === undefined ? [] : [`  curl -s -X POST ${origin}/_local/schedules/${warmup.name}`]),
  ];
}

async function untilInterrupted(output: Output, signal: AbortSignal): Promise<void> {
  output.note('\nRunning until Ctrl-C.');
  if (signal.aborted) return;
  // A held connection does not keep the process alive; this timer does.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  clearInterval(alive);
}
