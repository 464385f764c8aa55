import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { withLog } from '../logs.ts';
import { startRuntimeApi, type Outcome, type RuntimeApi } from './runtime-api.ts';

/** How to run a function. */
export interface EnvironmentSpec {
  /** Of the function. */
  readonly name: string;
  readonly arn: string;
  /** The program that talks to the Runtime API and calls the handler. */
  readonly command: readonly string[];
  /** All environment variables except those that Lambda sets; read at each start. */
  readonly variables: () => Readonly<Record<string, string>>;
  /** The folder with `index.mjs`. */
  readonly taskRoot: string;
  readonly timeoutMs: number;
  readonly memoryMiB: number;
  /** The folder of logs; standard output and error are appended to `function-<name>.log`. */
  readonly logs: string;
}

/** One process that handles one event at a time, as Lambda runs it. */
export interface ExecutionEnvironment extends AsyncDisposable {
  readonly pid: number;
  /** False once it ended or was killed. */
  isUsable(): boolean;
  /** Handles the event within the function's time-out. Never rejects: the death of the process is an outcome, too. */
  invoke(payload: Uint8Array): Promise<Outcome>;
  /** Kills the process, as Lambda does, and waits for its end. Idempotent. */
  stop(): Promise<void>;
}

/** Lambda allows 10 s; developers' machines are slower. */
const INIT_MS = 30_000;
const VERSION = '$LATEST';

/** Children to kill when this process ends. */
const alive = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

export const logNameOf = (functionName: string): string => `function-${functionName}`;

/** Starts the process and its Runtime API. An error of the start is the outcome of the first event. */
export async function startEnvironment(spec: EnvironmentSpec): Promise<ExecutionEnvironment> {
  const api = await startRuntimeApi();
  const [file = '', ...args] = spec.command;
  const child = withLog(spec.logs, logNameOf(spec.name), (log) =>
    spawn(file, args, {
      stdio: ['pipe', log, log], // The pipe closes when this process ends.
      windowsHide: true,
      env: { ...spec.variables(), ...lambdaVariables(spec, api) },
      cwd: spec.taskRoot,
    }),
  );
  const exit = Promise.withResolvers<undefined>();
  child.once('exit', () => exit.resolve(undefined)).once('error', () => exit.resolve(undefined));
  const { pid } = child;
  if (pid === undefined) {
    await api.close();
    throw new Error(`cannot start ${file}: does it exist, and is it executable?`);
  }
  alive.add(child);
  let killed = false;
  const ended = exit.promise.then(() => void alive.delete(child));
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const kill = (): void => {
    killed = true;
    if (isRunning()) child.kill('SIGKILL');
  };
  const howItEnded = (): string =>
    child.signalCode === null ? `exit status ${child.exitCode}` : `signal: ${child.signalCode}`;

  const invoke = async (payload: Uint8Array): Promise<Outcome> => {
    const requestId = randomUUID();
    const exited = ended.then(() => exitOf(requestId, howItEnded()));
    const notReady = await within(INIT_MS, Promise.race([api.initialised.then(asOutcome), exited]), () =>
      failed('Sandbox.Timedout', `RequestId: ${requestId} Error: Init did not end within ${INIT_MS / 1000} s`),
    );
    if (notReady !== undefined) {
      kill();
      return notReady;
    }
    const { timeoutMs, arn: functionArn } = spec;
    const handled = api.invoke({ requestId, functionArn, deadlineMs: Date.now() + timeoutMs, payload });
    return await within(timeoutMs, Promise.race([handled, exited]), () => {
      kill();
      const seconds = (timeoutMs / 1000).toFixed(2);
      return failed('Sandbox.Timedout', `RequestId: ${requestId} Error: Task timed out after ${seconds} seconds`);
    });
  };
  const stop = async (): Promise<void> => {
    kill();
    await ended;
    await api.close();
  };
  return { pid, isUsable: () => !killed && isRunning(), invoke, stop, [Symbol.asyncDispose]: stop };
}

/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime */
function lambdaVariables({ name, taskRoot, memoryMiB }: EnvironmentSpec, api: RuntimeApi): NodeJS.ProcessEnv {
  return {
    AWS_LAMBDA_RUNTIME_API: api.address,
    AWS_LAMBDA_FUNCTION_NAME: name,
    AWS_LAMBDA_FUNCTION_VERSION: VERSION,
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMiB),
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${name}`,
    AWS_LAMBDA_LOG_STREAM_NAME: `local/[${VERSION}]${randomUUID().replaceAll('-', '')}`,
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
    LAMBDA_TASK_ROOT: taskRoot,
    _HANDLER: 'index.handler',
    TZ: ':UTC',
  };
}

const failed = (errorType: string, errorMessage: string): Outcome => ({
  kind: 'failed',
  error: { errorType, errorMessage },
});

const exitOf = (requestId: string, how: string): Outcome =>
  failed('Runtime.ExitError', `RequestId: ${requestId} Error: Runtime exited with error: ${how}`);

const asOutcome = (error: Extract<Outcome, { kind: 'failed' }>['error'] | undefined): Outcome | undefined =>
  error === undefined ? undefined : { kind: 'failed', error };

/** The work, or the result of `late` after `ms`. */
async function within<T>(ms: number, work: Promise<T>, late: () => T): Promise<T> {
  const timer = Promise.withResolvers<T>();
  const timeout = setTimeout(() => timer.resolve(late()), ms);
  try {
    return await Promise.race([work, timer.promise]);
  } finally {
    clearTimeout(timeout);
  }
}
