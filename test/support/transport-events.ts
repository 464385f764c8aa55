import { BASIC_CHALLENGE } from '../../lib/access/basic.ts';
import type { CacheError } from '../../lib/errors/cache-error.ts';
import type { RegistryAnswer } from '../../lib/http/registry/open-registry.ts';
import { errorAnswer } from '../../lib/http/registry/registry-errors.ts';
import { eventTransport, type EventTransport } from '../../lib/http/registry/registry-event.ts';
import { isRegistryPath, registryRoute } from '../../lib/http/registry/registry-route.ts';
import { formatRepository } from '../../lib/reference/reference.ts';

/*
 * Events as AWS documents them:
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
 */

export const PATH = '/v2/library/alpine/manifests/latest';
/** A request of an HTTP API, payload 2.0. */
export const httpApi = (more: object = {}, stage = '$default', method = 'GET') => ({
  version: '2.0',
  routeKey: '$default',
  rawPath: PATH,
  rawQueryString: 'ns=docker.io',
  headers: { accept: 'application/json', authorization: 'Basic eDp5' },
  requestContext: { stage, http: { method, path: PATH } },
  isBase64Encoded: false,
  ...more,
});
/** A request of a load balancer, without headers and query. */
export const alb = (more: object = {}) => ({
  requestContext: {
    elb: {
      targetGroupArn:
        'arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/entrepot-prod/6d0ecf831eec9f09',
    },
  },
  httpMethod: 'GET',
  path: PATH,
  body: '',
  isBase64Encoded: false,
  ...more,
});
const BYTES = Uint8Array.from([0, 255, 128, 10]);
const REGISTRIES = new Map(['docker.io', 'ghcr.io'].map((name) => [name, { name }]));

/** The transport of an event. */
export function doorOf(event: unknown): EventTransport {
  const door = eventTransport(event);
  if (door === undefined) throw new Error(`no transport accepts ${JSON.stringify(event)}`);
  return door;
}

/** The result of a request: its repository, the error code, or `outside` of the API. */
export function cameTo(event: unknown): string {
  const { request } = doorOf(event);
  if (!isRegistryPath(request.path)) return 'outside';
  try {
    const route = registryRoute(request.method, request.path, new URLSearchParams(request.query), REGISTRIES);
    if (route.kind === 'ping' || route.kind === 'catalog') return route.kind;
    return formatRepository(route.kind === 'manifest' ? route.reference.repository : route.repository);
  } catch (error) {
    return (error as CacheError).code ?? 'no code';
  }
}

/** Answers by purpose. */
export const ANSWERS: Readonly<Record<string, RegistryAnswer>> = {
  manifest: { status: 200, headers: { 'content-type': 'a/b', etag: '"x"' }, body: BYTES },
  blobHead: { status: 200, headers: { 'content-length': '1234567', etag: '"x"' } },
  notModified: { status: 304, headers: { etag: '"x"' } },
  redirect: { status: 307, headers: { location: 'https://x', 'cache-control': 'no-store' } },
  challenge: { status: 401, headers: { 'www-authenticate': BASIC_CHALLENGE }, body: new Uint8Array() },
  refused: errorAnswer(405, 'UNSUPPORTED', 'no', { allow: 'GET, HEAD' }),
};
