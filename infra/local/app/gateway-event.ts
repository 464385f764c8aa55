import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { APIGatewayProxyEventV2WithRequestContext, APIGatewayEventRequestContextV2 } from 'aws-lambda';
import { isPrincipal } from '../../../lib/access/principal.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import { ACCOUNT_ID } from './deployment.ts';
import { decoded, DEFAULT_PATH, type RouteMatch } from './routes.ts';

/** The principal that every request comes from, as API Gateway's IAM authoriser names it. */
export interface LocalCaller {
  /** Of a user, the root of an account, a federated user, or the session of a role. */
  readonly userArn: string;
  readonly accountId: string;
}

const ROLE = /^arn:(aws[a-z-]*):iam::(\d{12}):role\/(?:[\x21-\x7e]{1,510}\/)?([\w+=,.@-]{1,64})$/;

/**
 * The caller that an ARN names, in each form that IAM has for someone who may sign a request; a role is a session of it, as nobody signs as the role itself.
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

/** What goes to a function as text; API Gateway encodes every other body. */
const TEXT = /^(?:text\/|application\/(?:json|xml|javascript)\b|[^;]+\+(?:json|xml)\b)/i;

/**
 * The event of an API Gateway HTTP API, payload format 2.0, for a request that its IAM authoriser let in; or one of the default route, which has none.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
export function gatewayEvent(
  request: IncomingMessage,
  body: Buffer,
  { route, pathParameters }: RouteMatch,
  caller: LocalCaller,
): GatewayEvent {
  const [path, rawQueryString] = splitUrl(request.url ?? '/');
  // API Gateway hands the path on decoded.
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

/** Path and query as they came, without the question mark. */
export function splitUrl(url: string): readonly [path: string, query: string] {
  const at = url.indexOf('?');
  return at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)];
}

/** Names in lower case; what came several times is one value with commas, and cookies one with semicolons. */
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
