import { dirname, join } from 'node:path';
import { functionName, FUNCTIONS, type FunctionName } from '../../names.ts';
import { asksRegistries } from '../../resources/roles.ts';
import { stackEnvironment, type StackEndpoints } from '../local-stack.ts';
import { startStates, statusChangeEvent, type Invoke } from '../states/states.ts';
import { openActivity, type Activity, type ActivityFields } from './activity.ts';
import { startDeliveries, type Deliveries } from './deliveries.ts';
import { functionArnIn, functionNameOf, STAGE, type Deployment } from './deployment.ts';
import { ACCOUNT_ID } from './gateway.ts';
import { startLambdaEndpoint } from './lambda-endpoint.ts';
import { startEventBus, type EventBus } from './event-bus.ts';
import { FunctionFailedError, startFunctions, ThrottledError, type Functions, type FunctionSpec } from './functions.ts';
import { startQueues } from './queues.ts';
import type { Schedule } from './scheduler.ts';

export interface CoreOptions {
  readonly deployment: Deployment;
  readonly stack: StackEndpoints;
  /** By function: the folder with `index.mjs` and `config.json`, as it is in the zip. */
  readonly taskRoots: ReadonlyMap<string, string>;
  /** The command of each environment: see `buildRuntime` in application.ts. */
  readonly runtime: readonly string[];
  /** Folder of the logs. */
  readonly logs: string;
  /** Keeps running executions, so that they resume after a kill. Without it they end with this process. */
  readonly executionsFile?: string;
  /** Docker's `config.json`, for the functions that ask registries. */
  readonly dockerConfigPath?: string | undefined;
  /** Lists executions of the state machine and runs of warm-ups. */
  readonly activity?: Activity;
}

/** The functions, the services that they call, and the services that call them. */
export interface Core extends AsyncDisposable {
  readonly functions: Functions;
  readonly deliveries: Deliveries;
  readonly events: EventBus;
  /** Of the deployment; the scheduler is not started yet. */
  readonly schedules: readonly Schedule[];
  /** Environment variables for other programs: endpoints and resources. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Lambda's default concurrency of an account in one region. */
const ACCOUNT_CONCURRENCY = 1000;
/** Of an error message. */
const SHOWN_CHARACTERS = 500;

/** Starts everything but the HTTP API and the clock: functions, the state machine, the event bus with its rules. */
export async function startCore(options: CoreOptions): Promise<Core> {
  const { deployment, stack, logs, executionsFile, activity = openActivity() } = options;
  await using resources = new AsyncDisposableStack();
  // Filled in below: the endpoints need the functions, and the functions need the variables of the endpoints.
  const variables: Record<string, string> = {};
  const functions = withWarmupsShown(startFunctions(functionSpecs(options, variables)), activity);
  const deliveries = resources.use(startDeliveries(functions, logs));
  const queues = resources.use(startQueues(functions, logs));
  const late: { events?: EventBus } = {};
  const runs = new Map<string, (how: ActivityFields) => void>();
  const states = resources.use(
    await startStates({
      definition: deployment.definition,
      invoke: invokeBy(functions, deployment.region),
      ...(executionsFile === undefined ? {} : { file: executionsFile }),
      onStarted: ({ executionArn, name }) => void runs.set(executionArn, activity.begin('runs', { name })),
      onEnded: (execution) => {
        const { executionArn, status, error, cause } = execution;
        runs.get(executionArn)?.({ status, error, cause: cause?.slice(0, SHOWN_CHARACTERS) });
        runs.delete(executionArn);
        late.events?.put('default', statusChangeEvent(execution));
      },
    }),
  );
  const events = resources.use(
    await startEventBus({
      region: deployment.region,
      accountId: ACCOUNT_ID,
      buses: [deployment.bus],
      rules: deployment.rules,
      deliveries,
      queues,
    }),
  );
  late.events = events;
  const lambda = resources.use(
    await startLambdaEndpoint(functions, (called) => FUNCTIONS.find((name) => functionName(STAGE, name) === called)),
  );
  // Disposed before the state machine, the deliveries and the queues, which wait for running functions.
  resources.use(functions);
  const environment = {
    ...stackEnvironment(stack),
    AWS_ENDPOINT_URL_SFN: states.endpoint,
    AWS_ENDPOINT_URL_EVENTBRIDGE: events.endpoint,
    AWS_ENDPOINT_URL_LAMBDA: lambda.endpoint,
    ENTREPOT_STATE_MACHINE: states.stateMachineArn,
    ENTREPOT_BUS: deployment.bus,
  };
  Object.assign(variables, environment);
  states.resume();
  const running = resources.move();
  return {
    functions,
    deliveries,
    events,
    schedules: deployment.schedules,
    environment,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The same functions; each event of a warm-up is listed as a run. */
function withWarmupsShown(functions: Functions, activity: Activity): Functions {
  return {
    ...functions,
    invoke: async (name, event) => {
      if (name !== 'warmup') return await functions.invoke(name, event);
      const { warmup, scheduledTime } = event as { readonly warmup?: unknown; readonly scheduledTime?: unknown };
      const ended = activity.begin('warmups', { warmup, scheduledTime });
      try {
        const summary = await functions.invoke(name, event);
        ended(countsOf(summary));
        return summary;
      } catch (error) {
        ended({ error: (error as Error).message.slice(0, SHOWN_CHARACTERS) });
        throw error;
      }
    },
  };
}

/** A summary of a warm-up, with numbers in place of lists. */
const countsOf = (summary: unknown): ActivityFields =>
  Object.fromEntries(
    Object.entries(summary ?? {}).map(([name, value]: [string, unknown]) => [
      name,
      Array.isArray(value) ? value.length : value,
    ]),
  );

/** The functions of the deployment as they run here. `known`: variables of all functions, read at each start. */
export function functionSpecs(
  options: Omit<CoreOptions, 'stack'>,
  known: Readonly<Record<string, string>>,
): readonly FunctionSpec[] {
  const { deployment, taskRoots, runtime, logs, dockerConfigPath } = options;
  const { service, region } = deployment;
  return service.functions.map(({ name, timeoutMs, memoryMiB, reservedConcurrency }) => {
    const taskRoot = taskRoots.get(name);
    if (taskRoot === undefined) {
      throw new Error(`serverless.yml has the function ${name}, and functions/${name}.ts is missing`);
    }
    // The signing secret is a file here; the variables of the stack name it.
    const own = {
      ENTREPOT_CONFIG: join(taskRoot, 'config.json'),
      ENTREPOT_SIGNING_SECRET: '',
      ...(asksRegistries(name as FunctionName) ? dockerVariables(dockerConfigPath) : {}),
    };
    return {
      name,
      arn: functionArnIn(region, name as FunctionName),
      command: runtime,
      variables: () => variablesOf(service.environment, { ...known, ...own }),
      taskRoot,
      timeoutMs,
      memoryMiB,
      logs,
      concurrency: reservedConcurrency ?? ACCOUNT_CONCURRENCY,
    };
  });
}

/** Docker's credentials; its helpers need HOME. */
function dockerVariables(configPath: string | undefined): Readonly<Record<string, string>> {
  if (configPath === undefined) return {};
  const { HOME } = process.env;
  return { DOCKER_CONFIG: dirname(configPath), ...(HOME === undefined ? {} : { HOME }) };
}

/** The variables of serverless.yml with their local values, and the endpoints. Of the developer's own environment only PATH. */
function variablesOf(
  named: Readonly<Record<string, unknown>>,
  known: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const variables = Object.entries(named).map(([name, value]): [string, string] => {
    const here = known[name] ?? value;
    if (typeof here === 'string') return [name, here];
    throw new Error(`serverless.yml has the variable ${name}, whose value only CloudFormation knows`);
  });
  return { PATH: process.env.PATH ?? '', ...known, ...Object.fromEntries(variables) };
}

function invokeBy(functions: Functions, region: string): Invoke {
  return async (arn, payload) => {
    try {
      return { payload: await functions.invoke(functionNameOf(arn, region), payload) };
    } catch (error) {
      if (error instanceof FunctionFailedError) return error.error;
      if (error instanceof ThrottledError) {
        return { errorType: 'Lambda.TooManyRequestsException', errorMessage: error.message };
      }
      throw error;
    }
  };
}
