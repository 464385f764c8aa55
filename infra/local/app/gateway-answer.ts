/** What goes back to the client. */
export interface GatewayAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
  /** The length that the function states, in digits: told to whoever sends HEAD and gets an answer without a body. */
  readonly statedLength?: string;
}

/** What API Gateway itself says when there is no answer of a function. */
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

/** Of the connection, not of the answer: API Gateway sets them itself. */
const DROPPED = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding', 'upgrade']);

/**
 * The answer that API Gateway makes of a function's result, payload format 2.0: one with a `statusCode` says everything itself, any other is a JSON
 * document with 200; one that is neither is an internal error.
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
