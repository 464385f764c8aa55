import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import type { AccessSettings } from '../../../lib/access/access.ts';
import { CacheError } from '../../../lib/errors/cache-error.ts';
import { statusOfError } from '../../../lib/errors/status.ts';
import type { Jobs } from '../../../lib/jobs/jobs.ts';
import type { PullRecords } from '../../../lib/jobs/pull-record.ts';
import { ANSWERS, problemSchema } from '../../../lib/http/control/answer-schemas.ts';
import { answerRequest, type ApiDeps } from '../../../lib/http/control/control-api.ts';
import { startDeadline } from '../../../lib/async/time.ts';
import { routeOf } from '../../../lib/http/control/routes.ts';
import { pull } from '../../../lib/pull/pull.ts';
import type { Services } from '../../../lib/services.ts';
import type { LogFields, Logger } from '../../../lib/telemetry/logger.ts';
import type { MetricName } from '../../../lib/telemetry/telemetry.ts';
import { httpEvent } from '../../support/http-event.ts';

export const ROLE = 'arn:aws:sts::123456789012:assumed-role/ci/build-1';

/** What the authoriser of an HTTP API says of a request that was signed by this principal. */
export const signedBy = (userArn: string) => ({
  iam: {
    accessKey: 'ASIAEXAMPLE',
    accountId: '123456789012',
    callerId: 'x',
    cognitoIdentity: null,
    userArn,
    userId: 'x',
  },
});

export const withToken = (claims: Readonly<Record<string, string>>) => ({ jwt: { claims, scopes: null } });

/** Pulls as the workflow would, one process for all of them, each once `go` is settled. */
export interface Worker extends AsyncDisposable {
  readonly jobs: Jobs;
  /** What pulls that start from now on wait for. */
  go: Promise<unknown>;
  /** Every pull that was started has ended. */
  idle(): Promise<unknown>;
  readonly started: string[];
}

export function startWorker(services: Pick<Services, 'pull'>, records: PullRecords): Worker {
  const stop = new AbortController();
  const running: Promise<unknown>[] = [];
  const carryOut = async (id: string, request: Parameters<Jobs['start']>[0], go: Promise<unknown>): Promise<void> => {
    await Promise.race([go, once(stop.signal, 'abort')]);
    if (stop.signal.aborted) return;
    try {
      await records.succeed(id, await pull(services.pull, request, stop.signal), stop.signal);
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      const { name, message, code, retryable } = error;
      const failure = {
        name,
        message,
        status: statusOfError(error),
        retryable,
        ...(code === undefined ? {} : { code }),
      };
      await records.fail(id, failure, stop.signal);
    }
  };
  const worker: Worker = {
    go: Promise.resolve(),
    started: [],
    jobs: {
      async start(request, signal) {
        const { record, created } = await records.join(request, signal);
        if (created) {
          worker.started.push(record.id);
          running.push(carryOut(record.id, request, worker.go));
        }
        return record;
      },
    },
    idle: () => Promise.allSettled(running),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await worker.idle();
    },
  };
  return worker;
}

export interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
  readonly error?: unknown;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  /** The body as it went out. */
  readonly text: string;
  readonly lines: readonly Line[];
  readonly metrics: ReadonlyMap<MetricName, number>;
}

export interface Asked {
  readonly method?: string;
  readonly path: string;
  readonly query?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly authorizer?: unknown;
  /** Until the invocation must end. */
  readonly withinMs?: number;
}

export type Ask = (asked: Asked) => Promise<ApiAnswer>;

/** Asks the control API of these services, as API Gateway would. Log and metrics are kept. */
export function api(services: ApiServices, access: AccessSettings = { rules: [] }): Ask {
  const { records, jobs, deployment, signingKey, publishedKey, config } = services;
  const keys = signingKey === undefined || publishedKey === undefined ? undefined : { signingKey, publishedKey };
  const { serve } = config;
  const deps: ApiDeps = { ...services.pull, access, serve, records, jobs, deployment, keys };
  return async (asked) => {
    const lines: Line[] = [];
    const metrics = new Map<MetricName, number>();
    using deadline = startDeadline(asked.withinMs ?? 25_000);
    const answer = await answerRequest(deps, eventOf(asked), {
      requestId: 'request-1',
      logger: keepingLogger(lines),
      metrics: { add: (name, value) => void metrics.set(name, (metrics.get(name) ?? 0) + value) },
      signal: deadline.signal,
    });
    assert.equal(answer.headers?.['x-request-id'], 'request-1');
    assert.equal(answer.headers['cache-control'], 'no-store');
    const text = answer.body ?? '';
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    checkDocument(asked, answer.statusCode ?? 0, body);
    assert.equal(lines.length, 1, 'one line of log for a request');
    return { status: answer.statusCode ?? 0, headers: answer.headers, body, text, lines, metrics };
  };
}

/** Whatever is answered is as docs/openapi.json says. */
function checkDocument({ method = 'GET', path, body: sent }: Asked, status: number, body: unknown): void {
  if (status >= 400) {
    problemSchema.parse(body);
    return;
  }
  const { operation } = routeOf(sent === undefined ? method : 'POST', path);
  const schemas: Readonly<Record<number, { parse(document: unknown): unknown } | undefined>> = ANSWERS[operation];
  assert.ok(status in schemas, `${operation} answers no ${status}`);
  if (schemas[status] === undefined) assert.equal(body, undefined);
  else schemas[status].parse(body);
}

export type ApiServices = Pick<Services, 'pull' | 'records' | 'jobs' | 'deployment'> &
  Partial<Pick<Services, 'signingKey' | 'publishedKey'>> & { readonly config: Pick<Services['config'], 'serve'> };

export function eventOf(asked: Asked): APIGatewayProxyEventV2 {
  const { path, query = '', body, headers = {}, authorizer = signedBy(ROLE) } = asked;
  const method = asked.method ?? (body === undefined ? 'GET' : 'POST');
  const event = httpEvent(body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body), {}, method);
  return {
    ...event,
    routeKey: `${method} ${path}`,
    rawPath: path,
    rawQueryString: query,
    headers: { ...event.headers, ...headers },
    requestContext: { ...event.requestContext, authorizer } as typeof event.requestContext,
  };
}

function keepingLogger(lines: Line[]): Logger {
  let kept: LogFields = {};
  const at =
    (level: string) =>
    (message: string, fields: LogFields = {}): void =>
      void lines.push({ level, message, fields: { ...kept, ...fields } });
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: (message, error, fields = {}) =>
      void lines.push({ level: 'error', message, fields: { ...kept, ...fields }, error }),
    keep(fields) {
      kept = { ...kept, ...fields };
    },
  };
}
