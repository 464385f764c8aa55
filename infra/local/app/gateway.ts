import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { APIGatewayEventRequestContextV2, APIGatewayProxyEventV2WithRequestContext } from 'aws-lambda';
import { isPrincipal } from '../../../lib/access/principal.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';

/** Of everything that this machine runs in place of AWS. */
export const ACCOUNT_ID = '000000000000';

/** One route of the HTTP API: `GET /v1/pulls/{id}`. */
export interface Route {
  /** `ANY` is every method. */
  readonly method: string;
  /** Parts may be `{name}`, and the last one `{name+}`; {@link DEFAULT_PATH} matches what no other route does. */
  readonly path: string;
  readonly functionName: string;
}

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html#http-api-develop-routes.default */
export const DEFAULT_PATH = '$default';

export interface RouteMatch {
  readonly route: Route;
  /** Decoded. */
  readonly pathParameters: Readonly<Record<string, string>>;
}

/**
 * The route that API Gateway would take: a full match before one with variables, that before a greedy one, and the method itself before `ANY`.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html#http-api-develop-routes.evaluation
 */
export function findRoute(routes: readonly Route[], method: string, path: string): RouteMatch | undefined {
  const matches: { match: RouteMatch; rank: string }[] = [];
  for (const route of routes) {
    if (route.path === DEFAULT_PATH || (route.method !== method && route.method !== 'ANY')) continue;
    const pathParameters = parametersOf(route.path, path);
    if (pathParameters !== undefined) matches.push({ match: { route, pathParameters }, rank: rankOf(route) });
  }
  const byDefault = routes.find(({ path: pattern }) => pattern === DEFAULT_PATH);
  const rest = byDefault === undefined ? undefined : { route: byDefault, pathParameters: {} };
  return matches.sort((a, b) => (a.rank < b.rank ? -1 : 1))[0]?.match ?? rest;
}

function parametersOf(pattern: string, path: string): Record<string, string> | undefined {
  const [wanted, given] = [partsOf(pattern), partsOf(path)];
  const parameters: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const { name, greedy } = /^\{(?<name>[^}+]+)(?<greedy>\+?)\}$/.exec(part)?.groups ?? {};
    const value = greedy === '+' ? given.slice(index).join('/') : (given[index] ?? '');
    if (name === undefined ? value !== part : value === '') return undefined;
    if (name !== undefined) parameters[name] = decoded(value);
    if (greedy === '+') return parameters;
  }
  return wanted.length === given.length ? parameters : undefined;
}

/** The more variable an early part, the later the route comes; the method itself comes before ANY. */
function rankOf({ path, method }: Route): string {
  const parts = partsOf(path).map((part) => (part.endsWith('+}') ? '2' : part.startsWith('{') ? '1' : '0'));
  return `${parts.join('')} ${method === 'ANY' ? 1 : 0}`;
}

const partsOf = (path: string): string[] => path.split('/').slice(1);

/** An invalid escape stays as it is. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The principal that every request comes from, as API Gateway's IAM authoriser names it. */
export interface LocalCaller {
  /** Of a user, the root of an account, a federated user, or the session of a role. */
  readonly userArn: string;
  readonly accountId: string;
}

const ROLE = /^arn:(aws[a-z-]*):iam::(\d{12}):role\/(?:[\x21-\x7e]{1,510}\/)?([\w+=,.@-]{1,64})$/;

/**
 * The caller that an ARN names, in each form of a principal that can sign a request. A role becomes a session of it, because only sessions sign.
 *
 * @throws ConfigError that lists the forms.
 */
export function parseLocalCaller(arn: string): LocalCaller {
  const userArn = arn.replace(ROLE, 'arn:$1:sts::$2:assumed-role/$3/local');
  if (!isPrincipal(userArn)) {
    throw new ConfigError(
      `--caller ${JSON.stringify(arn.slice(0, 200))} is not the ARN of a caller; write arn:aws:iam::<account>:user/<name>, :role/<name> (both also with a path) or :root, or arn:aws:sts::<account>:assumed-role/<role>/<session> or :federated-user/<name>, in any partition (aws, aws-cn, aws-us-gov)`,
    );
  }
  return { userArn, accountId: userArn.split(':')[4] ?? '' };
}

interface IamAuthorizer {
  readonly iam: {
    readonly accessKey: string;
    readonly accountId: string;
    readonly callerId: string;
    readonly cognitoIdentity: null;
    readonly principalOrgId: string;
    readonly userArn: string;
    readonly userId: string;
  };
}

export type GatewayEvent = APIGatewayProxyEventV2WithRequestContext<
  APIGatewayEventRequestContextV2 & { readonly authorizer?: IamAuthorizer }
>;

/** Media types that go to a function as text; API Gateway encodes other bodies. */
const TEXT = /^(?:text\/|application\/(?:json|xml|javascript)\b|[^;]+\+(?:json|xml)\b)/i;

/**
 * The event of an API Gateway HTTP API, payload format 2.0, for a request that its IAM authoriser admitted, or one of the default route, which has no authoriser.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
export function gatewayEvent(
  request: IncomingMessage,
  body: Buffer,
  { route, pathParameters }: RouteMatch,
  caller: LocalCaller,
): GatewayEvent {
  const [path, rawQueryString] = splitUrl(request.url ?? '/');
  // API Gateway passes the decoded path.
  const rawPath = decoded(path);
  const isDefault = route.path === DEFAULT_PATH;
  const { cookie, ...headers } = joinedHeaders(request);
  const isText = TEXT.test(headers['content-type'] ?? '');
  const routeKey = isDefault ? DEFAULT_PATH : `${route.method} ${route.path}`;
  const now = new Date();
  return {
    version: '2.0',
    routeKey,
    rawPath,
    rawQueryString,
    ...(cookie === undefined ? {} : { cookies: cookie.split(/; ?/) }),
    headers,
    ...(rawQueryString === '' ? {} : { queryStringParameters: queryParameters(rawQueryString) }),
    ...(Object.keys(pathParameters).length === 0 ? {} : { pathParameters: { ...pathParameters } }),
    requestContext: {
      accountId: ACCOUNT_ID,
      apiId: 'local',
      ...(isDefault ? {} : { authorizer: { iam: iamOf(caller) } }),
      domainName: headers.host ?? '',
      domainPrefix: 'local',
      http: {
        method: request.method ?? '',
        path: rawPath,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp: request.socket.remoteAddress ?? '',
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: randomUUID(),
      routeKey,
      stage: '$default',
      time: commonLogTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body.byteLength === 0 ? {} : { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.byteLength > 0 && !isText,
  };
}

/** Path and query as received, without the question mark. */
export function splitUrl(url: string): readonly [path: string, query: string] {
  const at = url.indexOf('?');
  return at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)];
}

/** Lower-case names; repeated values joined by commas, cookies by semicolons. */
function joinedHeaders(request: IncomingMessage): Record<string, string> {
  const joined = Object.entries(request.headersDistinct).map(([name, values = []]): [string, string] => [
    name,
    values.join(name === 'cookie' ? '; ' : ','),
  ]);
  return Object.fromEntries(joined);
}

function queryParameters(query: string): Record<string, string> {
  const values = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    const earlier = values.get(name);
    values.set(name, earlier === undefined ? value : `${earlier},${value}`);
  }
  return Object.fromEntries(values);
}

function iamOf({ userArn, accountId }: LocalCaller): IamAuthorizer['iam'] {
  return {
    accessKey: 'AKIALOCALCALLER',
    accountId,
    callerId: 'AIDALOCALCALLER',
    cognitoIdentity: null,
    principalOrgId: 'o-local',
    userArn,
    userId: 'AIDALOCALCALLER',
  };
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `12/Mar/2020:19:03:58 +0000` */
function commonLogTime(time: Date): string {
  const day = String(time.getUTCDate()).padStart(2, '0');
  return `${day}/${MONTHS[time.getUTCMonth()]}/${time.getUTCFullYear()}:${time.toISOString().slice(11, 19)} +0000`;
}

/** What goes back to the client. */
export interface GatewayAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
  /** The content-length that the function states, for the answer to a HEAD. */
  readonly statedLength?: string;
}

/** API Gateway's own answer if there is none of a function. */
export const NOT_FOUND = gatewayMessage(404, 'Not Found');
export const TOO_LARGE = gatewayMessage(413, 'Request Entity Too Large');
export const INTERNAL_ERROR = gatewayMessage(500, 'Internal Server Error');
export const UNAVAILABLE = gatewayMessage(503, 'Service Unavailable');

export function gatewayMessage(status: number, message: string): GatewayAnswer {
  return {
    status,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ message })),
  };
}

/** Headers of the connection: API Gateway sets them itself. */
const DROPPED = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding', 'upgrade']);

/**
 * The answer that API Gateway makes of a function's result, payload format 2.0: one with a `statusCode` is a whole answer, any other is a JSON
 * document with 200; anything else is an internal error.
 */
export function gatewayAnswer(result: unknown): GatewayAnswer {
  if (!isObject(result) || result.statusCode === undefined) {
    return {
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(typeof result === 'string' ? result : JSON.stringify(result)),
    };
  }
  const { statusCode, headers = {}, cookies = [], body = '', isBase64Encoded = false } = result;
  const isWellFormed =
    Number.isInteger(Number(statusCode)) &&
    Number(statusCode) >= 200 &&
    Number(statusCode) <= 599 &&
    isObject(headers) &&
    Array.isArray(cookies) &&
    typeof body === 'string';
  if (!isWellFormed) return INTERNAL_ERROR;
  const named: Record<string, string | string[]> = {};
  let stated = '';
  for (const [name, value] of Object.entries(headers)) {
    if (name.toLowerCase() === 'content-length') stated = String(value);
    if (!DROPPED.has(name.toLowerCase())) named[name.toLowerCase()] = String(value);
  }
  if (body !== '') named['content-type'] ??= 'text/plain;charset=UTF-8';
  if (cookies.length > 0) named['set-cookie'] = cookies.map(String);
  return {
    status: Number(statusCode),
    headers: named,
    body: Buffer.from(body, isBase64Encoded === true ? 'base64' : 'utf8'),
    ...(/^\d+$/.test(stated) ? { statedLength: stated } : {}),
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
