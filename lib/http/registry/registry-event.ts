import type { ALBResult, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { STATUS_CODES } from 'node:http';
import { isIP } from 'node:net';
import { isHttpEvent } from '../http-event.ts';
import type { RegistryAnswer, ReceivedRequest } from './open-registry.ts';
import { errorAnswer } from './registry-errors.ts';

/** A door of AWS: how it hands a request on, and what it carries back. */
export interface EventTransport extends ReceivedRequest {
  answer(answered: RegistryAnswer): APIGatewayProxyStructuredResultV2 | ALBResult;
}

const KIB = 1024;
/** Lambda answers 6 MB at most, as JSON with the body in base64: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const HTTP_API_BODY_BYTES = 4_352 * KIB;
/** Of an Application Load Balancer 1 MB: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html */
const ALB_BODY_BYTES = 704 * KIB;

/**
 * The door of an event: an API Gateway HTTP API (payload 2.0), a function URL, which sends the same, or an Application Load Balancer. Undefined for anything
 * else. Of what such an event has, any field may be missing or of another type: anyone who may invoke the function can write any event.
 */
export function eventTransport(event: unknown): EventTransport | undefined {
  if (isHttpEvent(event)) return httpApiDoor(fieldsOf(event));
  const fields = fieldsOf(event);
  return 'elb' in fieldsOf(fields.requestContext) ? albDoor(fields) : undefined;
}

/** The answer to an event that {@link eventTransport} does not know, in the form that API Gateway takes, a REST API's (payload 1.0) too. */
export function unknownEvent(): APIGatewayProxyStructuredResultV2 {
  const {
    status,
    headers,
    body = '',
  } = errorAnswer(
    400,
    'UNSUPPORTED',
    'this is no request of an HTTP API with payload format 2.0, of a function URL, or of an Application Load Balancer',
  );
  return { statusCode: status, headers: { ...headers }, body: Buffer.from(body).toString(), isBase64Encoded: false };
}

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {});
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
/** One value, or a list of them. */
const textsOf = (value: unknown): readonly string[] => [value].flat().filter((one) => typeof one === 'string');

/** API Gateway decodes `rawPath` once, and joins headers that come twice by a comma. */
function httpApiDoor({ rawPath, rawQueryString, headers, requestContext }: Fields): EventTransport {
  const { stage, http } = fieldsOf(requestContext);
  const path = textOf(rawPath);
  const prefix = stage === '$default' ? '' : `/${textOf(stage)}`;
  return {
    request: {
      method: textOf(fieldsOf(http).method),
      address: addressOf(textOf(fieldsOf(http).sourceIp)),
      path: prefix.length > 1 && path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path,
      query: textOf(rawQueryString),
      header: (name) => singleOf(fieldsOf(headers), name),
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
function albDoor(event: Fields): EventTransport {
  const { httpMethod, path, headers, multiValueHeaders } = event;
  const isMulti = typeof multiValueHeaders === 'object' && multiValueHeaders !== null;
  return {
    request: {
      method: textOf(httpMethod),
      address: addressOf(addedLast(fieldsOf(isMulti ? multiValueHeaders : headers)['x-forwarded-for'])),
      path: textOf(path),
      query: queryOf(event),
      header: (name) => singleOf(fieldsOf(isMulti ? multiValueHeaders : headers), name),
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

/**
 * A load balancer appends the address of the connection, with its port where that is switched on, to whatever the client sent:
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
 */
const addedLast = (values: unknown): string => textsOf(values).join(',').split(',').at(-1)?.trim() ?? '';

/** Undefined for what is no IP address: anyone who may invoke the function can write any event. */
function addressOf(text: string): string | undefined {
  const [, address = text] = /^\[?([^\]]+?)\]?:\d+$/.exec(text) ?? [];
  return [text, address].find((one) => isIP(one) > 0);
}

/** Headers that are lists: given twice, they are one list. */
const LISTS: ReadonlySet<string> = new Set(['accept', 'if-none-match']);

/** Undefined where it is missing, or was given twice and is no list. */
function singleOf(headers: Fields, name: string): string | undefined {
  const wanted = name.toLowerCase();
  const found = Object.entries(headers).flatMap(([key, value]) => (key.toLowerCase() === wanted ? textsOf(value) : []));
  return found.length === 1 || (found.length > 1 && LISTS.has(wanted)) ? found.join(', ') : undefined;
}

/** Parameters are not decoded: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#receive-event-from-load-balancer */
function queryOf({ queryStringParameters, multiValueQueryStringParameters }: Fields): string {
  const pairsOf = (parameters: unknown): readonly string[] =>
    Object.entries(fieldsOf(parameters)).flatMap(([name, value]) => textsOf(value).map((text) => `${name}=${text}`));
  const lists = pairsOf(multiValueQueryStringParameters);
  return (lists.length > 0 ? lists : pairsOf(queryStringParameters)).join('&');
}

const encoded = (body: Uint8Array | undefined): { readonly body?: string; readonly isBase64Encoded?: boolean } =>
  body === undefined || body.byteLength === 0
    ? {}
    : { body: Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64'), isBase64Encoded: true };
