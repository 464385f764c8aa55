import type { Config } from '../config/config.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { formatReference } from '../reference/reference.ts';
import { cacheName, configured } from './cache.ts';
import { exampleReference, ownCommand, pullHints } from './hints.ts';
import { EXIT, type ExitCode, type Output } from './output.ts';
import { outputLogger, type LogOptions } from './output-logger.ts';

export interface LocalOptions extends LogOptions {
  /** The whole application, not only its S3 and DynamoDB. */
  readonly all: boolean;
  /** Of the HTTP API; 0 takes a free one. */
  readonly port: number;
  /** ARN of the principal that every caller of the HTTP API counts as. */
  readonly caller: string;
  /** Only print the variables, for a shell; with `all` those of the application that is running already. */
  readonly env: boolean;
}

/** Runs the embedded stack, or the whole application on it, until the signal, and prints the variables for other programs. */
export async function runLocal(options: LocalOptions, output: Output, signal: AbortSignal): Promise<ExitCode> {
  const config = configured(output);
  const { store } = config;
  if (store.kind !== 'local') {
    throw new ConfigError(
      'ENTREPOT_BUCKET and ENTREPOT_TABLE name a store already; unset them to run the embedded stack',
    );
  }
  // Loaded on use, here and in cache.ts: the embedded stack does not run on AWS.
  const { openLocalStack, stackEnvironment } = await import('../../infra/local/connect.ts');
  if (options.env && options.all) {
    const { runningEnvironment } = await import('../../infra/local/app/application.ts');
    const variables = runningEnvironment(store.home);
    output.result(variables, exportLines(variables));
    return EXIT.done;
  }
  output.status(`starting ${cacheName(store)}`);
  const { homeTrouble } = await import('../../infra/local/home-trouble.ts');
  await using stack = await openLocalStack(store.home, { signal }).catch((error: unknown) => {
    throw (signal.aborted ? undefined : homeTrouble(store.home, error)) ?? error;
  });
  const places = [
    `S3         ${stack.s3Endpoint}  bucket ${stack.bucket}`,
    `DynamoDB   ${stack.dynamoEndpoint}  table ${stack.table}`,
    `state      ${store.home}`,
  ];
  if (!options.all) {
    output.status(undefined);
    const variables = stackEnvironment(stack);
    if (options.env) {
      output.result(variables, exportLines(variables));
      output.note(
        '# The stack ends about 30 s after its last use; "entrepot local" in another terminal keeps it running.',
      );
      return EXIT.done;
    }
    output.result(variables, [...places, ...forOthers(variables)]);
    await untilInterrupted(output, signal);
    return EXIT.done;
  }
  const { startApplication } = await import('../../infra/local/app/application.ts');
  const { port, caller: callerArn } = options;
  const logger = outputLogger(output, options);
  await using application = await startApplication({
    home: store.home,
    stack,
    config,
    port,
    callerArn,
    onStep: (step) => output.status(step),
    onActivity: (message, fields) => logger.info(message, fields),
  });
  output.status(undefined);
  const { origin, environment } = application;
  output.result({ origin, ...environment }, [
    `HTTP API   ${origin}/v1  for ${callerArn}`,
    ...places,
    `logs       ${store.home}/logs`,
    ...forOthers(environment, ' --all'),
    ...examples(origin, config),
  ]);
  await untilInterrupted(output, signal);
  output.note('\nStopping.');
  output.status('waiting for the functions to end');
  return EXIT.done;
}

const forOthers = (variables: Readonly<Record<string, string>>, options = ''): readonly string[] => [
  '',
  `For other programs, or as eval "$(${ownCommand()} local${options} --env)":`,
  ...exportLines(variables).map((line) => `  ${line}`),
];

/** Quoted for a POSIX shell. */
export const exportLines = (variables: Readonly<Record<string, string>>): readonly string[] =>
  Object.entries(variables).map(([name, value]) => `export ${name}=${quoted(value)}`);

const quoted = (value: string): string =>
  /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;

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
    `  curl -s ${origin}/_local/requests  # or runs, warmups, events, functions, schedules`,
    ...(warmup === undefined ? [] : [`  curl -s -X POST ${origin}/_local/schedules/${warmup.name}`]),
  ];
}

async function untilInterrupted(output: Output, signal: AbortSignal): Promise<void> {
  output.note('\nRunning until Ctrl-C.');
  if (signal.aborted) return;
  // An open connection does not keep the process alive; this timer does.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  clearInterval(alive);
}
