import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { InvalidRequestError } from '../errors/cache-error.ts';

/** A hundred images with platforms need far less. */
const MAX_BODY_BYTES = 256 * 1024;
const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json\s*(?:;.*)?$/i;

/**
 * Whether the event looks like a request of an API Gateway HTTP API (payload format 2.0).
 *
 * This decides how to read and to answer, and never what is allowed: whoever may invoke the function directly can write any shape,
 * that of an authorised request too.
 */
export function isHttpEvent(event: unknown): event is APIGatewayProxyEventV2 {
  if (typeof event !== 'object' || event === null) return false;
  const { version, requestContext } = event as { version?: unknown; requestContext?: unknown };
  return version === '2.0' && typeof requestContext === 'object' && requestContext !== null && 'http' in requestContext;
}

/**
 * The JSON document that was posted.
 *
 * @throws InvalidRequestError naming `method` or `body`.
 */
export function readJsonBody(event: APIGatewayProxyEventV2): unknown {
  const { method } = event.requestContext.http;
  if (method !== 'POST') {
    throw new InvalidRequestError('method', `the method is ${method.slice(0, 20)}; POST a JSON document`);
  }
  const contentType = header(event, 'content-type');
  if (contentType === undefined || !JSON_TYPE.test(contentType)) {
    const found = contentType === undefined ? 'none' : JSON.stringify(contentType.slice(0, 100));
    throw new InvalidRequestError('body', `the Content-Type is ${found}; send application/json`);
  }
  const body = event.body ?? '';
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

/** API Gateway lower-cases names; local doors may not. */
function header(event: APIGatewayProxyEventV2, name: string): string | undefined {
  const found = Object.entries((event.headers as typeof event.headers | undefined) ?? {}).find(
    ([key]) => key.toLowerCase() === name,
  );
  return found?.[1];
}

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
