import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isClient, type Bundle } from '../../infra/bundles.ts';
import { childEnvironment } from '../../infra/local/processes.ts';
import { apiEvent } from './api-event.ts';
import { httpEvent } from './http-event.ts';

const CHILD = fileURLToPath(new URL('cold-start-child.js', import.meta.url));
const CHILD_WITHIN_MS = 20_000;

interface Moment {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** The first invocation of a fresh process, and its time since the import of the bundle. */
export interface ColdStart {
  readonly imported: Moment;
  readonly answered: Moment;
  readonly answer: {
    readonly statusCode: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
  };
  /** URLs of modules, if traced. */
  readonly loaded: readonly string[];
  /** The output of the function, if traced. */
  readonly written: string;
}

export interface ColdStartOptions {
  /** Holds an `index.mjs`. */
  readonly folder: string;
  /** The event of its handler. */
  readonly event: object;
  readonly environment: NodeJS.ProcessEnv;
  readonly trace?: boolean;
  readonly signal?: AbortSignal;
}

/** The environment of a function of the application, on a stack. */
export const lambdaEnvironment = (stack: Readonly<Record<string, string>>, config: string): NodeJS.ProcessEnv => ({
  ...childEnvironment(),
  ...stack,
  ENTREPOT_CONFIG: config,
  AWS_LAMBDA_FUNCTION_NAME: 'api',
  NODE_OPTIONS: '--enable-source-maps',
  POWERTOOLS_SERVICE_NAME: 'entrepot',
  POWERTOOLS_METRICS_NAMESPACE: 'Entrepot',
});

/** `POST /v1/pull` for the reference. */
export const pullEvent = (reference: string): object => apiEvent('POST', '/v1/pull', { reference });

/** `GET` of a path of the registry endpoint. */
export function registryEvent(rawPath: string): object {
  const { requestContext, ...event } = httpEvent('', { rawPath, routeKey: '$default' }, 'GET');
  return { ...event, requestContext: { ...requestContext, http: { ...requestContext.http, path: rawPath } } };
}

/** Starts a process with the bundle, and gives it one event. */
export async function coldStart(options: ColdStartOptions): Promise<ColdStart> {
  const { folder, event, environment, trace = false, signal } = options;
  const bundle = pathToFileURL(join(folder, 'index.mjs')).href;
  const timeout = AbortSignal.timeout(CHILD_WITHIN_MS);
  const child = spawn(process.execPath, [CHILD, bundle, JSON.stringify(event), ...(trace ? ['trace'] : [])], {
    env: environment,
    stdio: ['ignore', trace ? 'pipe' : 'ignore', 'inherit', 'pipe'],
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    killSignal: 'SIGKILL',
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const [told, written, [code]] = await Promise.all([
    text(child.stdio[3] as Readable),
    child.stdout === null ? '' : text(child.stdout),
    exited,
  ]);
  if (code !== 0) throw new Error(`the cold start of ${folder} failed; its output is above`);
  return { ...(JSON.parse(told) as Omit<ColdStart, 'written'>), written };
}

/** The files of the bundle that the process loaded. */
export const filesLoaded = ({ folder }: Bundle, { loaded }: ColdStart): readonly string[] =>
  loaded
    .filter((url) => url.startsWith('file:'))
    .map((url) => fileURLToPath(url))
    .filter((file) => file.startsWith(join(folder, '/')));

/** The clients whose code is in those files. */
export const clientsLoaded = (bundle: Bundle, start: ColdStart): readonly string[] =>
  [...bundle.packagesIn(filesLoaded(bundle, start))].filter(isClient);
