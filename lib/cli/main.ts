import manifest from '../../package.json' with { type: 'json' };
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type Client, CLIENTS } from './mirror-config/mirror-config.ts';
import {
  runCommand,
  type JsonOption,
  type PullOptions,
  runImages,
  runPull,
  runRebuild,
  runValidate,
  type ValidateOptions,
} from './commands.ts';
import type { DoctorOptions } from './doctor.ts';
import type { MirrorConfigOptions } from './mirror-config.ts';
import { EXIT, outputOn, tolerateClosedPipes, type ExitCode, type Output, type Streams } from './output.ts';
import { LOG_FORMATS, LOG_LEVELS, type LogOptions } from './output-logger.ts';

interface LocalCommand extends LogCommand, JsonOption {
  readonly all?: true;
  readonly env?: true;
  readonly port: number;
  readonly caller: string;
}

interface LogCommand {
  readonly logFormat: LogOptions['logFormat'];
  readonly logLevel: LogOptions['logLevel'];
  readonly quiet?: true;
}

interface ServeCommand extends LogCommand, JsonOption {
  readonly port: number;
}

type MirrorConfigCommand = Omit<MirrorConfigOptions, 'force'> & JsonOption & { readonly force?: true };

/** Runs the command line on the streams of the process, and sets its exit code. */
export async function main(args: readonly string[]): Promise<void> {
  tolerateClosedPipes();
  process.exitCode = await runCommandLine(args, process);
}

/** Runs the command line and gives its exit code: 0 done, 1 failed or partial, 2 usage or configuration. */
export async function runCommandLine(args: readonly string[], streams: Streams): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.done;
  try {
    await commandLine(streams, (code) => (exitCode = code)).parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // commander throws for --help and --version, too.
    exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
  return exitCode;
}

function commandLine(streams: Streams, finish: (exitCode: ExitCode) => void): Command {
  const program = new Command('entrepot')
    .description('A cache for OCI images: pulls what is missing into S3 and DynamoDB, or into the embedded stack.')
    .version(manifest.version)
    .configureOutput({
      writeOut: (text) => void streams.stdout.write(text),
      writeErr: (text) => void streams.stderr.write(text),
    })
    .exitOverride();
  const outputOf = ({ json, verbose, quiet }: JsonOption & { readonly quiet?: true }): Output =>
    outputOn(streams, json === true, { isQuiet: quiet === true, isVerbose: verbose === true });
  const run = async (
    output: Output,
    work: (output: Output, signal: AbortSignal) => Promise<ExitCode>,
    references: readonly string[] = [],
  ): Promise<void> => finish(await runCommand(output, references, (signal) => work(output, signal)));

  const json = ['--json', 'print one JSON document per result, one per line'] as const;
  const platform = [
    '--platform <os/arch[/variant]>',
    'only this platform of the image; may be repeated',
    repeated,
  ] as const;

  program
    .command('pull')
    .description('pull images into the cache; only missing content is copied')
    .argument('<reference...>', 'for example alpine:3.20 or registry.example.test/team/app:v1')
    .option(...platform)
    .option('--always-pull', 'resolve the reference at the registry again, even if the cache has it')
    .option('--no-attestations', 'without the attestations of the platforms')
    .option(...json)
    .action(async (references: string[], options: PullOptions) =>
      finish(await runPull(references, options, outputOf(options))),
    );
  program
    .command('validate')
    .description('check whether an image is complete in the cache, without asking the registry')
    .argument('<reference>')
    .option(...platform)
    .option('--no-attestations', 'without the attestations of the platforms')
    .option('--deep', 'also check every object in S3')
    .addOption(
      new Option('--bytes', 'also read every object and verify its digest; implies --deep').implies({ deep: true }),
    )
    .option(...json)
    .action(async (reference: string, options: ValidateOptions) =>
      finish(await runValidate(reference, options, outputOf(options))),
    );
  program
    .command('images')
    .description('list the images in the cache')
    .option(...json)
    .action(async (options: JsonOption) => finish(await runImages(outputOf(options))));
  program
    .command('rebuild')
    .description('rebuild the table from the bucket, without asking a registry')
    .option(...json)
    .action(async (options: JsonOption) => finish(await runRebuild(outputOf(options))));
  program
    .command('doctor')
    .description('check a deployment for everything that the code relies on: docs/aws-assumptions.md')
    .requiredOption('--url <https://…>', 'URL of the HTTP API')
    .option('--image <reference>', 'also pull this image, end to end')
    .option('--registry-url <https://…>', 'URL of the registry endpoint, if it differs from that of the API')
    .option('--token-file <file>', 'a file with a bearer token, for an API that takes JWTs')
    .option(...json)
    .action((options: DoctorOptions & JsonOption) =>
      run(outputOf(options), async (output, signal) =>
        (await import('./doctor.ts')).runDoctor(options, output, signal),
      ),
    );
  program
    .command('serve')
    .description('serve docker, podman and containerd on loopback; what is missing is pulled')
    .option('--port <number>', 'port on 127.0.0.1; 0 takes a free one', parsePort, 5000)
    .addOption(logFormat())
    .addOption(logLevel())
    .option('--quiet', 'log errors only, and print no hints')
    .option(...json)
    .action((options: ServeCommand) =>
      run(outputOf(options), async (output, signal) =>
        (await import('./serve.ts')).runServe(
          { port: options.port, isQuiet: options.quiet === true, ...logOptions(options) },
          output,
          signal,
        ),
      ),
    );
  program
    .command('hash-password')
    .description('print the entry of a user for serve.auth.users; reads the password from standard input')
    .argument('<name>')
    .option('--group <group>', 'a group that the user is in; may be repeated', repeated)
    .option(...json)
    .action((name: string, { group = [], ...options }: { group?: readonly string[] } & JsonOption) =>
      run(outputOf(options), async (output, signal) =>
        (await import('./hash-password.ts')).runHashPassword(name, group, output, signal),
      ),
    );
  program
    .command('local')
    .description('run the embedded S3 and DynamoDB until Ctrl-C; with --all the whole application')
    .option('--all', 'also run the HTTP API, functions, workflow, events and schedules')
    .option('--port <number>', 'port of the HTTP API on 127.0.0.1; 0 takes a free one', parsePort, 8400)
    .option(
      '--caller <arn>',
      'ARN of an IAM principal: every caller of the HTTP API counts as this one',
      'arn:aws:iam::000000000000:user/local',
    )
    .option(...json)
    .option(
      '--env',
      'only print the environment variables for other programs, for eval; with --all those of the running application',
    )
    .addOption(logFormat())
    .addOption(logLevel())
    .option('--quiet', 'log errors only, and print no hints')
    .action(({ all, port, caller, env, ...options }: LocalCommand) =>
      run(outputOf(options), async (output, signal) =>
        (await import('./local.ts')).runLocal(
          { all: all === true, port, caller, env: env === true, ...logOptions(options) },
          output,
          signal,
        ),
      ),
    );
  program
    .command('mirror-config')
    .description('print the configuration that makes a client pull from the cache: docs/clients.md')
    .addArgument(new Argument('<client>', 'podman also covers Buildah, skopeo and CRI-O').choices(CLIENTS))
    .option('--url <https://…>', 'URL of the registry endpoint, as the client reaches it', 'http://127.0.0.1:5000')
    .option('--output <folder>', 'write the files into this folder')
    .option('--force', 'with --output: replace files that differ')
    .option(...json)
    .action((client: Client, { force, ...options }: MirrorConfigCommand) =>
      run(outputOf(options), async (output) =>
        (await import('./mirror-config.ts')).runMirrorConfig(client, { ...options, force: force === true }, output),
      ),
    );
  for (const command of program.commands) {
    command.option('--verbose', 'print on stderr which configuration and which cache are used');
  }
  return program;
}

const repeated = (value: string, earlier: readonly string[] | undefined): readonly string[] => [
  ...(earlier ?? []),
  value,
];

const logFormat = (): Option =>
  new Option('--log-format <format>', 'format of the log on stderr, one line per request')
    .choices(LOG_FORMATS)
    .default('text');
const logLevel = (): Option =>
  new Option('--log-level <level>', 'lowest level that is logged').choices(LOG_LEVELS).default('info');

const logOptions = ({ logFormat, logLevel, quiet }: LogCommand): LogOptions => ({
  logFormat,
  logLevel: quiet === true ? 'error' : logLevel,
});

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port < 65_536) return port;
  throw new InvalidArgumentError('Write a number from 0 to 65535.');
}

// Started as a process by the launcher if that runs on an older Node.
if (import.meta.main) {
  // See launch.js.
  process.once('beforeExit', () => process.once('exit', () => process.exit()));
  await main(process.argv.slice(2));
}
