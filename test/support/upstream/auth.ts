import { randomBytes } from 'node:crypto';
import type { Answer } from './answer.ts';
import type { UpstreamRequest } from './upstream.ts';

/** The authentication of the upstream. */
export type UpstreamAuth =
  | { readonly kind: 'basic'; readonly users: Readonly<Record<string, string>> }
  | {
      readonly kind: 'bearer';
      /** Default: `/token` of the upstream itself. */
      readonly realm?: string;
      readonly service?: string;
      /** Default 300; 0 gives tokens that are expired when they arrive. */
      readonly expiresInSeconds?: number;
      /** False: `expires_in` is left out of the answer. */
      readonly tellExpiry?: boolean;
      /** The field of the answer that carries the token. Default `token`. */
      readonly field?: 'token' | 'access_token';
      /** User names and passwords. Empty or absent: anonymous tokens only. */
      readonly users?: Readonly<Record<string, string>>;
      /** Refresh tokens (Docker's identity tokens) accepted by POST. */
      readonly refreshTokens?: readonly string[];
      /** Repositories that an anonymous token may read. Default all, where there are no users and refresh tokens; else none. */
      readonly anonymous?: readonly string[];
    };

/** Issued tokens and their expiry. */
export class TokenBook {
  readonly #tokens = new Map<string, { scope: string; untilMs: number }>();

  issue(scope: string, seconds: number): string {
    const token = `tok-${randomBytes(12).toString('hex')}`;
    this.#tokens.set(token, { scope, untilMs: Date.now() + seconds * 1000 });
    return token;
  }

  accepts(token: string, repository: string | undefined): boolean {
    const known = this.#tokens.get(token);
    if (known === undefined || known.untilMs <= Date.now()) return false;
    return repository === undefined || known.scope === `repository:${repository}:pull`;
  }

  revokeAll(): void {
    this.#tokens.clear();
  }
}

const unauthorised = (challenge: string): Answer => ({
  status: 401,
  headers: { 'content-type': 'application/json', 'www-authenticate': challenge },
  body: Buffer.from(JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] })),
});

/** The 401 of the request, or undefined if it is allowed. */
export function authorise(
  request: UpstreamRequest,
  auth: UpstreamAuth,
  tokens: TokenBook,
  origin: string,
): Answer | undefined {
  const authorization = request.headers.authorization ?? '';
  if (auth.kind === 'basic') {
    return basicUser(authorization, auth.users) === undefined ? unauthorised('Basic realm="Registry"') : undefined;
  }
  const token = /^Bearer (.+)$/.exec(authorization)?.[1];
  if (token !== undefined && tokens.accepts(token, request.repository)) return undefined;
  const scope = request.repository === undefined ? '' : `,scope="repository:${request.repository}:pull"`;
  const service = auth.service === undefined ? '' : `,service="${auth.service}"`;
  return unauthorised(`Bearer realm="${auth.realm ?? `${origin}/token`}"${service}${scope}`);
}

/** The answer of the token realm: GET with or without Basic, or the OAuth2 POST form. */
export function issueToken(
  request: UpstreamRequest,
  auth: Extract<UpstreamAuth, { kind: 'bearer' }>,
  tokens: TokenBook,
): Answer {
  const form = request.method === 'POST' ? new URLSearchParams(request.body) : request.query;
  const scope = form.get('scope') ?? '';
  if (!mayHave(request, form, scope, auth)) return unauthorised('Basic realm="token"');
  const seconds = auth.expiresInSeconds ?? 300;
  const told = auth.tellExpiry === false ? {} : { expires_in: seconds, issued_at: new Date().toISOString() };
  const field = request.method === 'POST' ? 'access_token' : (auth.field ?? 'token');
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ [field]: tokens.issue(scope, seconds), ...told })),
  };
}

function mayHave(
  request: UpstreamRequest,
  form: URLSearchParams,
  scope: string,
  auth: Extract<UpstreamAuth, { kind: 'bearer' }>,
): boolean {
  if (request.method === 'POST') {
    if (form.get('grant_type') === 'refresh_token') {
      return auth.refreshTokens?.includes(form.get('refresh_token') ?? '') ?? false;
    }
    const password = auth.users?.[form.get('username') ?? ''];
    return password !== undefined && password === form.get('password');
  }
  if (request.headers.authorization !== undefined) {
    return basicUser(request.headers.authorization, auth.users ?? {}) !== undefined;
  }
  if (auth.anonymous !== undefined) {
    return auth.anonymous.some((repository) => scope === `repository:${repository}:pull`);
  }
  return auth.users === undefined && auth.refreshTokens === undefined;
}

function basicUser(authorization: string, users: Readonly<Record<string, string>>): string | undefined {
  const encoded = /^Basic (.+)$/.exec(authorization)?.[1];
  if (encoded === undefined) return undefined;
  const [user = '', ...rest] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  return users[user] !== undefined && users[user] === rest.join(':') ? user : undefined;
}
