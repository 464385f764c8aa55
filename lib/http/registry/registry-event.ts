import type { ALBEvent, ALBResult, APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { STATUS_CODES } from 'node:http';
import { InvalidRequestError } from '../../errors/cache-error.ts';
import { isHttpEvent } from '../http-event.ts';
import type { RegistryAnswer, RegistryDoor } from './registry-door.ts';

/** A door of AWS: how it hands a request on, and what it carries back. */
export interface EventDoor extends RegistryDoor {
  answer(answered: RegistryAnswer): APIGatewayProxyStructuredResultV2 | ALBResult;
}

const KIB = 1024;
/** Lambda answers 6 MB at most, as JSON with the body in base64: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const HTTP_API_BODY_BYTES = 4_352 * KIB;
/** Of an Application Load Balancer 1 MB: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html */
const ALB_BODY_BYTES = 704 * KIB;

/**
 * The door of an event: an API Gateway HTTP API (payload 2.0) or an Application Load Balancer.
 *
 * @throws InvalidRequestError for anything else.
 */
export function eventDoor(event: unknown): EventDoor {
  if (isHttpEvent(event)) return httpApiDoor(event);
  if (isAlbEvent(event)) return albDoor(event);
  throw new InvalidRequestError(
    'event',
    'expected a request of an HTTP API (payload 2.0) or of an Application Load Balancer',
  );
}

const isAlbEvent = (event: unknown): event is ALBEvent =>
  typeof event === 'object' &&
  event !== null &&
  typeof (event as Partial<ALBEvent>).requestContext === 'object' &&
  'elb' in ((event as ALBEvent).requestContext as object);

/** API Gateway decodes `rawPath` once, and joins headers that come twice by a comma. */
function httpApiDoor(event: APIGatewayProxyEventV2): EventDoor {
  const { rawPath, rawQueryString, headers, requestContext } = event as Partial<APIGatewayProxyEventV2>;
  const stage = requestContext?.stage;
  const path = rawPath ?? '';
  const prefix = stage === undefined || stage === '$default' ? '' : `/${stage}`;
  return {
    request: {
      method: requestContext?.http.method ?? '',
      path: prefix !== '' && path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path,
      query: rawQueryString ?? '',
      header: (name) => singleOf(headers ?? {}, name),
    },
    limits: { bodyBytes: HTTP_API_BODY_BYTES },
    answer: ({ status, headers: answered, body }) => ({
      statusCode: status,
      headers: { ...answered },
      ...encoded(body),
    }),
  };
}

/**
 * A load balancer hands path and query on as they came. With multi-value headers switched on for its target group it sends lists, and wants lists back:
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#multi-value-headers
 */
function albDoor(event: ALBEvent): EventDoor {
  const { httpMethod, path, headers, multiValueHeaders } = event;
  const isMulti = multiValueHeaders !== undefined;
  return {
    request: {
      method: httpMethod,
      path,
      query: queryOf(event),
      header: (name) => (isMulti ? singleOf(multiValueHeaders, name) : singleOf(headers ?? {}, name)),
    },
    limits: { bodyBytes: ALB_BODY_BYTES },
    answer: ({ status, headers: answered, body }) => ({
      statusCode: status,
      statusDescription: `${status} ${STATUS_CODES[status] ?? ''}`.trim(),
      ...(isMulti
        ? { multiValueHeaders: Object.fromEntries(Object.entries(answered).map(([name, value]) => [name, [value]])) }
        : { headers: { ...answered } }),
      isBase64Encoded: false,
      ...encoded(body),
    }),
  };
}

/** Headers that are lists: given twice, they are one list. */
const LISTS: ReadonlySet<string> = new Set(['accept', 'if-none-match']);

/** Undefined where it is missing, or was given twice and is no list. */
function singleOf(headers: Readonly<Record<string, string | string[] | undefined>>, name: string): string | undefined {
  const wanted = name.toLowerCase();
  const found = Object.entries(headers).flatMap(([key, value]) =>
    key.toLowerCase() === wanted ? [value ?? []].flat() : [],
  );
  return found.length === 1 || (found.length > 1 && LISTS.has(wanted)) ? found.join(', ') : undefined;
}

/** Parameters are not decoded: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#receive-event-from-load-balancer */
function queryOf({ queryStringParameters, multiValueQueryStringParameters }: ALBEvent): string {
  const lists = Object.entries(multiValueQueryStringParameters ?? {}).flatMap(([name, values]) =>
    (values ?? []).map((value) => `${name}=${value}`),
  );
  const single = Object.entries(queryStringParameters ?? {}).map(([name, value]) => `${name}=${value ?? ''}`);
  return (lists.length > 0 ? lists : single).join('&');
}

const encoded = (body: Uint8Array | undefined): { readonly body?: string; readonly isBase64Encoded?: boolean } =>
  body === undefined || body.byteLength === 0
    ? {}
    : { body: Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64'), isBase64Encoded: true };
