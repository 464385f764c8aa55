import { execFileSync } from 'node:child_process';
import { randomUUID, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { closeServer } from '../../infra/local/processes.ts';

/** Distribution takes a token for so much longer than it says (registry/auth/token/token.go, `Leeway`). */
const LEEWAY_SECONDS = 60;
const FORM_BYTES = 64 * 1024;
const ISSUER = 'entrepot interop';

export interface TokenServerOptions {
  /** Where the key and the certificate are written. */
  readonly folder: string;
  readonly service: string;
  /** Name and password of those who may pull and push everything. Others may pull what is under `public/`. */
  readonly users: ReadonlyMap<string, string>;
  /** Who may get tokens by an identity token (OAuth2 `refresh_token`), and as whom. */
  readonly identityTokens?: ReadonlyMap<string, string>;
}

/** One token that was given out, or refused. */
export interface TokenRequest {
  readonly method: string;
  /** Undefined for anonymous. */
  readonly account: string | undefined;
  readonly scopes: readonly string[];
  readonly granted: boolean;
}

export interface Lifetime {
  acceptedForMs: number;
  toldSeconds: number;
}

export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly issuer: string;
  readonly service: string;
  /** The certificate, for `rootcertbundle`. */
  readonly certificateFile: string;
  readonly requests: TokenRequest[];
  /** How long the registry takes a token, and what the client is told about it. May be changed at any time. */
  readonly lifetime: Lifetime;
  close(): Promise<void>;
}

/**
 * A token server as the distribution project specifies it: RS256, with the certificate in the token's own header.
 * https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/
 */
export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const { key, certificateFile } = makeCertificate(options.folder);
  const certificate = new X509Certificate(readFileSync(certificateFile)).raw.toString('base64');
  const lifetime: Lifetime = { acceptedForMs: 300_000, toldSeconds: 300 };
  const requests: TokenRequest[] = [];

  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const asked = await tokenRequest(request, options);
      requests.push(asked);
      response.setHeader('content-type', 'application/json');
      if (!asked.granted) {
        response.writeHead(401).end('{"details":"incorrect username or password"}');
        return;
      }
      const token = signed({ aud: options.service, ...claimsOf(asked, lifetime) }, key, certificate);
      const body = { token, access_token: token, expires_in: lifetime.toldSeconds };
      response.writeHead(200).end(JSON.stringify(body));
    };
    answer().catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): Promise<void> => closeServer(server);
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  const { service } = options;
  return { realm, issuer: ISSUER, service, certificateFile, requests, lifetime, close, [Symbol.asyncDispose]: close };
}

function makeCertificate(folder: string): { key: string; certificateFile: string } {
  const keyFile = join(folder, 'token-key.pem');
  const certificateFile = join(folder, 'token-certificate.pem');
  const subject = ['-subj', '/CN=entrepot interop', '-days', '2'];
  const files = ['-keyout', keyFile, '-out', certificateFile];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject, ...files], { stdio: 'pipe' });
  return { key: readFileSync(keyFile, 'utf8'), certificateFile };
}

async function tokenRequest(request: IncomingMessage, options: TokenServerOptions): Promise<TokenRequest> {
  const { method = '' } = request;
  const query = new URL(request.url ?? '/', 'http://realm').searchParams;
  const form = method === 'POST' ? new URLSearchParams(await readForm(request)) : query;
  const scopes = form
    .getAll('scope')
    .flatMap((scope) => scope.split(' '))
    .filter((scope) => scope !== '');
  const { account, isProven } = accountOf(form, request.headers.authorization, options);
  return { method, account, scopes, granted: isProven && form.get('service') === options.service };
}

/** Whom the request says that it comes from, and whether that is so. Nobody is always who he says he is. */
function accountOf(
  form: URLSearchParams,
  authorization: string | undefined,
  { users, identityTokens }: TokenServerOptions,
): { account: string | undefined; isProven: boolean } {
  if (form.get('grant_type') === 'refresh_token') {
    const account = identityTokens?.get(form.get('refresh_token') ?? '');
    return { account, isProven: account !== undefined };
  }
  const [account, password] =
    form.get('grant_type') === 'password'
      ? [form.get('username') ?? '', form.get('password') ?? '']
      : basicOf(authorization);
  return { account, isProven: account === undefined || users.get(account) === password };
}

function basicOf(authorization: string | undefined): [name: string | undefined, password: string] {
  const encoded = /^Basic (.+)$/i.exec(authorization ?? '')?.[1];
  if (encoded === undefined) return [undefined, ''];
  const text = Buffer.from(encoded, 'base64').toString();
  const colon = text.indexOf(':');
  return [text.slice(0, colon), text.slice(colon + 1)];
}

async function readForm(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > FORM_BYTES) throw new Error('the form is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** `repository:team/app:pull,push` as the registry wants to read it; nothing of what the account may not do. */
function accessOf(scope: string, isUser: boolean): { type: string; name: string; actions: string[] }[] {
  const [, type, name, actions] = /^([^:]+):(.+):([^:]*)$/.exec(scope) ?? [];
  if (type === undefined || name === undefined || actions === undefined) return [];
  if (isUser) return [{ type, name, actions: actions.split(',') }];
  return name.startsWith('public/') ? [{ type, name, actions: ['pull'] }] : [];
}

/** The registry's leeway is taken off the expiry, so that it takes the token for just as long as `lifetime` says. */
function claimsOf({ account, scopes }: TokenRequest, { acceptedForMs }: Lifetime): object {
  const exp = Math.ceil((Date.now() + acceptedForMs) / 1000) - LEEWAY_SECONDS;
  const iat = Math.floor(Date.now() / 1000) - 3600;
  const access = scopes.flatMap((scope) => accessOf(scope, account !== undefined));
  return { iss: ISSUER, sub: account ?? '', exp, nbf: iat, iat, jti: randomUUID(), access };
}

function signed(claims: object, key: string, certificate: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const content = `${part({ typ: 'JWT', alg: 'RS256', x5c: [certificate] })}.${part(claims)}`;
  return `${content}.${sign('RSA-SHA256', Buffer.from(content), key).toString('base64url')}`;
}
