import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { InvalidRequestError } from '../errors/cache-error.ts';

/** A hundred images with platforms need far less. */
const MAX_BODY_BYTES = 256 * 1024;
const ROUTE = '/v1/pull';

/**
 * Whether the event looks like a request of an API Gateway HTTP API (payload format 2.0).
 *
 * This decides how to read and to answer, and never what is allowed: whoever may invoke the function directly can write any shape,
 * that of an authorised request too.
 */
export function isHttpEvent(event: unknown): event is APIGatewayProxyEventV2 {
  if (typeof event !== 'object' || event === null) return false;
  const { version, requestContext } = event as { version?: unknown; requestContext?: { http?: unknown } | null };
  return version === '2.0' && typeof requestContext?.http === 'object' && requestContext.http !== null;
}

/**
 * The JSON document that was posted to `/v1/pull`. Its Content-Type does not matter: only JSON passes.
 *
 * @throws InvalidRequestError naming `method`, `path` or `body`.
 */
export function readJsonBody(event: APIGatewayProxyEventV2): unknown {
  // Whoever invokes the function directly can leave out what API Gateway always sends.
  const { http, stage } = event.requestContext as { http: { method?: unknown }; stage?: unknown };
  const { rawPath, body = '' } = event as { rawPath?: unknown; body?: unknown };
  if (http.method !== 'POST') {
    throw new InvalidRequestError('method', `the method is ${shown(http.method)}; POST a JSON document`);
  }
  if (rawPath !== ROUTE && rawPath !== `/${String(stage)}${ROUTE}`) {
    throw new InvalidRequestError('path', `the path is ${shown(rawPath)}; POST to ${ROUTE}`);
  }
  if (typeof body !== 'string') throw new InvalidRequestError('body', 'the body is not text; send {"reference": "…"}');
  // Base64 takes four characters for three bytes; JavaScript's strings have at most one character for a byte of UTF-8.
  if (body.length > (event.isBase64Encoded ? Math.ceil(MAX_BODY_BYTES / 3) * 4 : MAX_BODY_BYTES)) {
    throw new InvalidRequestError(
      'body',
      `the body is longer than ${MAX_BODY_BYTES} bytes; ask for fewer images at once`,
    );
  }
  if (body === '') throw new InvalidRequestError('body', 'the body is empty; send {"reference": "…"}');
  try {
    const text = event.isBase64Encoded
      ? new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(body, 'base64'))
      : body;
    return JSON.parse(text);
  } catch (cause) {
    throw new InvalidRequestError('body', 'the body is not a JSON document in UTF-8', cause);
  }
}

const shown = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 100) : 'missing');

/** An answer that nobody keeps. */
export function jsonAnswer(
  statusCode: number,
  document: unknown,
  headers: Readonly<Record<string, string>> = {},
): APIGatewayProxyStructuredResultV2 {
  return {
    statusCode,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers },
    body: JSON.stringify(document),
  };
}
