import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { APIGatewayProxyEventV2WithRequestContext, APIGatewayEventRequestContextV2 } from 'aws-lambda';
import { decoded, DEFAULT_PATH, type RouteMatch } from './routes.ts';

/** Who the door says that its callers are: the IAM part of an authorised request. */
export interface LocalCaller {
  /** ARN of the principal. */
  readonly arn: string;
  readonly accountId: string;
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
      accountId: caller.accountId,
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

function iamOf({ arn, accountId }: LocalCaller): IamAuthorizer['iam'] {
  return {
    accessKey: 'AKIALOCALCALLER',
    accountId,
    callerId: 'AIDALOCALCALLER',
    cognitoIdentity: null,
    principalOrgId: 'o-local',
    userArn: arn,
    userId: 'AIDALOCALCALLER',
  };
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `12/Mar/2020:19:03:58 +0000` */
function commonLogTime(time: Date): string {
  const day = String(time.getUTCDate()).padStart(2, '0');
  return `${day}/${MONTHS[time.getUTCMonth()]}/${time.getUTCFullYear()}:${time.toISOString().slice(11, 19)} +0000`;
}
