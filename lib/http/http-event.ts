import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { InvalidRequestError } from '../errors/cache-error.ts';

/** A request with fifty platforms needs far less. */
const MAX_BODY_BYTES = 256 * 1024;
/** Some references take 1,024 characters; each may be written as three (%2F). */
const MAX_QUERY_CHARACTERS = 8 * 1024;

/**
 * Whether the event looks like a request of an API Gateway HTTP API (payload format 2.0).
 *
 * This decides how to read and to answer, never what is allowed: anyone who may invoke the function directly can write any event,
 * also that of an authorised request.
 */
export function isHttpEvent(event: unknown): event is APIGatewayProxyEventV2 {
  const { version, requestContext } = fieldsOf(event);
  const { http } = fieldsOf(requestContext);
  return version === '2.0' && typeof http === 'object' && http !== null;
}

/** An object of an event. Any field may be missing or of another type: anyone who may invoke the function can write any event. */
export type Fields = Readonly<Record<string, unknown>>;

export const fieldsOf = (value: unknown): Fields =>
  typeof value === 'object' && value !== null ? (value as Fields) : {};
export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
/** One value, or a list of them. */
export const textsOf = (value: unknown): readonly string[] => [value].flat().filter((one) => typeof one === 'string');

/** Headers that are lists: given twice, they are one list. */
const LISTS: ReadonlySet<string> = new Set(['accept', 'if-none-match']);

/** The value of a header, whatever the case of its name. Undefined where it is missing, or was given twice and is not a list. */
export function headerOf(headers: Fields, name: string): string | undefined {
  const wanted = name.toLowerCase();
  const found = Object.entries(headers).flatMap(([key, value]) => (key.toLowerCase() === wanted ? textsOf(value) : []));
  return found.length === 1 || (found.length > 1 && LISTS.has(wanted)) ? found.join(', ') : undefined;
}

/** What both APIs read of an HTTP API's event. API Gateway decodes `rawPath` once, and joins headers that come twice by a comma. */
export function httpApiRequest({ rawPath, rawQueryString, headers, requestContext }: Fields) {
  const { stage, http, authorizer } = fieldsOf(requestContext);
  const { method, sourceIp } = fieldsOf(http);
  const path = textOf(rawPath);
  const prefix = stage === '$default' ? '/' : `/${textOf(stage)}`;
  return {
    method: textOf(method),
    /** As it came, without the name of the stage. */
    path: prefix.length > 1 && path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path,
    rawQuery: textOf(rawQueryString),
    sourceIp: textOf(sourceIp),
    /** What the API's authoriser proved about the caller. Not checked yet. */
    authorizer,
    header: (name: string): string | undefined => headerOf(fieldsOf(headers), name),
  };
}

/** A request of the control API. */
export interface HttpRequest extends Omit<ReturnType<typeof httpApiRequest>, 'rawQuery' | 'sourceIp'> {
  /** Each parameter once. @throws InvalidRequestError */
  query(): Readonly<Record<string, string>>;
  /** Whether the request has a body. */
  readonly hasBody: boolean;
  /** The body as JSON; see {@link readJsonBody}. @throws InvalidRequestError */
  body(): unknown;
}

/** The request of an event. What can be wrong in it is read later, by `query` and `body`. */
export function httpRequest(event: APIGatewayProxyEventV2): HttpRequest {
  const fields = fieldsOf(event);
  const { rawQuery, ...request } = httpApiRequest(fields);
  return {
    ...request,
    query: () => readQuery(rawQuery),
    hasBody: (fields.body ?? '') !== '',
    body: () => readJsonBody(event),
  };
}

/** From the raw text: in API Gateway's parsed form, a parameter given twice looks like one with a comma. */
function readQuery(raw: string): Record<string, string> {
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
    const json = event.isBase64Encoded
      ? new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(body, 'base64'))
      : body;
    return JSON.parse(json);
  } catch (cause) {
    throw new InvalidRequestError('body', 'the body is not a JSON document in UTF-8', cause);
  }
}

const shown = (name: string): string => name.slice(0, 100);

/** An answer that no cache may keep. */
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
