import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { InvalidRequestError } from '../errors/cache-error.ts';

/** A request with fifty platforms needs far less. */
const MAX_BODY_BYTES = 256 * 1024;
/** Some references take 1,024 characters; each may be written as three (%2F). */
const MAX_QUERY_CHARACTERS = 8 * 1024;

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

/** What a caller sent, as far as routes look at it. */
export interface HttpRequest {
  readonly method: string;
  /** As it came, without the name of the stage. */
  readonly path: string;
  /** What the authoriser of the API found out about the caller. Not yet looked at. */
  readonly authorizer: unknown;
  /** The value of a header, whatever the case of its name. */
  header(name: string): string | undefined;
  /** Each parameter once. @throws InvalidRequestError */
  query(): Readonly<Record<string, string>>;
  /** Whether anything was sent as body. */
  readonly hasBody: boolean;
  /** The body as JSON; see {@link readJsonBody}. @throws InvalidRequestError */
  body(): unknown;
}

/** The request of an event. Reads nothing yet that could be wrong. */
export function httpRequest(event: APIGatewayProxyEventV2): HttpRequest {
  // Whoever invokes the function directly can leave out what API Gateway always sends.
  const { http, stage, authorizer } = event.requestContext as {
    http: { method?: unknown };
    stage?: unknown;
    authorizer?: unknown;
  };
  const { rawPath, headers } = event as { rawPath?: unknown; headers?: Record<string, unknown> };
  const path = text(rawPath);
  const prefix = `/${text(stage)}`;
  return {
    method: text(http.method),
    path: prefix !== '/' && path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path,
    authorizer,
    header(name) {
      const wanted = name.toLowerCase();
      const found = Object.entries(headers ?? {}).find(([key]) => key.toLowerCase() === wanted);
      return typeof found?.[1] === 'string' ? found[1] : undefined;
    },
    query: () => readQuery(event),
    hasBody: ((event as { body?: unknown }).body ?? '') !== '',
    body: () => readJsonBody(event),
  };
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** From the raw text: in the parsed form a parameter that came twice cannot be told from one with a comma. */
function readQuery(event: APIGatewayProxyEventV2): Record<string, string> {
  const raw = text((event as { rawQueryString?: unknown }).rawQueryString);
  if (raw.length > MAX_QUERY_CHARACTERS) {
    throw new InvalidRequestError('query', `the query is longer than ${MAX_QUERY_CHARACTERS} characters`);
  }
  const found = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(raw)) {
    if (found.has(name)) throw new InvalidRequestError(shown(name), `${shown(name)} is given twice; give it once`);
    found.set(name, value);
  }
  return Object.fromEntries(found);
}

/**
 * The JSON document that was sent. Its Content-Type does not matter: only JSON passes.
 *
 * @throws InvalidRequestError naming `body`.
 */
export function readJsonBody(event: APIGatewayProxyEventV2): unknown {
  const { body = '' } = event as { body?: unknown };
  if (typeof body !== 'string') throw new InvalidRequestError('body', 'the body is not text; send {"reference": "…"}');
  // Base64 takes four characters for three bytes; JavaScript's strings have at most one character for a byte of UTF-8.
  if (body.length > (event.isBase64Encoded ? Math.ceil(MAX_BODY_BYTES / 3) * 4 : MAX_BODY_BYTES)) {
    throw new InvalidRequestError('body', `the body is longer than ${MAX_BODY_BYTES} bytes; send less`);
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

const shown = (name: string): string => name.slice(0, 100);

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
