import type { ALBResult, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { STATUS_CODES } from 'node:http';
import { isIP } from 'node:net';
import { type Fields, fieldsOf, headerOf, httpApiRequest, isHttpEvent, textOf, textsOf } from '../http-event.ts';
import type { RegistryAnswer, ReceivedRequest } from './open-registry.ts';
import { errorAnswer } from './registry-errors.ts';

/** A transport of AWS: the request that it carries, and the form of its answer. */
export interface EventTransport extends ReceivedRequest {
  answer(answered: RegistryAnswer): APIGatewayProxyStructuredResultV2 | ALBResult;
}

const KIB = 1024;
/** Lambda answers 6 MB at most, as JSON with the body in base64: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const HTTP_API_BODY_BYTES = 4_352 * KIB;
/** An Application Load Balancer takes 1 MB: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html */
const ALB_BODY_BYTES = 704 * KIB;

/**
 * The transport of an event: an API Gateway HTTP API (payload 2.0), a function URL, which sends the same, or an Application Load Balancer. Undefined for
 * any other event.
 */
export function eventTransport(event: unknown): EventTransport | undefined {
  if (isHttpEvent(event)) return httpApiTransport(fieldsOf(event));
  const fields = fieldsOf(event);
  return 'elb' in fieldsOf(fields.requestContext) ? albTransport(fields) : undefined;
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
    'this is not a request of an HTTP API with payload format 2.0, of a function URL, or of an Application Load Balancer',
  );
  return { statusCode: status, headers: { ...headers }, body: Buffer.from(body).toString(), isBase64Encoded: false };
}

function httpApiTransport(event: Fields): EventTransport {
  const { rawQuery: query, sourceIp, method, path, header } = httpApiRequest(event);
  return {
    request: { method, path, query, header, address: addressOf(sourceIp) },
    limits: { bodyBytes: HTTP_API_BODY_BYTES },
    answer: ({ status, headers: answered, body }) => ({
      statusCode: status,
      headers: { ...answered },
      ...encoded(body),
    }),
  };
}

/**
 * A load balancer does not decode path and query. With multi-value headers switched on for its target group it sends lists, and expects lists:
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html#multi-value-headers
 */
function albTransport(event: Fields): EventTransport {
  const { httpMethod, path, headers, multiValueHeaders } = event;
  const isMulti = typeof multiValueHeaders === 'object' && multiValueHeaders !== null;
  return {
    request: {
      method: textOf(httpMethod),
      address: addressOf(addedLast(fieldsOf(isMulti ? multiValueHeaders : headers)['x-forwarded-for'])),
      path: textOf(path),
      query: queryOf(event),
      header: (name) => headerOf(fieldsOf(isMulti ? multiValueHeaders : headers), name),
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

/** Undefined where the text is not an IP address. */
function addressOf(text: string): string | undefined {
  const [, address = text] = /^\[?([^\]]+?)\]?:\d+$/.exec(text) ?? [];
  return [text, address].find((one) => isIP(one) > 0);
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
