import { HttpError } from '../problem.ts';

/** One route of the control API. */
export interface Route {
  readonly operation: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** `{id}` stands for one segment. */
  readonly path: string;
}

/** The control API: what serverless.yml routes to the function `api`, what docs/openapi.json describes, and what the function answers. */
export const ROUTES = [
  { operation: 'pull', method: 'POST', path: '/v1/pull' },
  { operation: 'findPull', method: 'GET', path: '/v1/pulls/{id}' },
  { operation: 'listImages', method: 'GET', path: '/v1/images' },
  { operation: 'removeTag', method: 'DELETE', path: '/v1/images' },
  { operation: 'validate', method: 'POST', path: '/v1/validate' },
  { operation: 'token', method: 'POST', path: '/v1/token' },
  { operation: 'deployment', method: 'GET', path: '/v1/deployment' },
] as const satisfies readonly Route[];

export type Operation = (typeof ROUTES)[number]['operation'];

export interface RouteMatch {
  readonly operation: Operation;
  /** Its name in the log: `GET /v1/pulls/{id}`. */
  readonly name: string;
  /** The text for `{id}`, not yet validated. Empty where the route has none. */
  readonly id: string;
}

const SHOWN_CHARACTERS = 100;

/**
 * The route of a request, by its path as received: it is not decoded or normalised, so that each route has one spelling.
 *
 * @throws HttpError 404 for a path, 405 (with `Allow`) for a method that is not in {@link ROUTES}.
 */
export function routeOf(method: string, path: string): RouteMatch {
  const matching = ROUTES.filter((route) => idOf(route.path, path) !== undefined);
  const route = matching.find((one) => one.method === method);
  if (route !== undefined) {
    return {
      operation: route.operation,
      name: `${route.method} ${route.path}`,
      id: idOf(route.path, path) ?? '',
    };
  }
  if (matching.length === 0) {
    const paths = [...new Set(ROUTES.map((one) => one.path))].join(', ');
    throw new HttpError(404, `there is no ${shown(path)} here; the paths are ${paths}`);
  }
  const allow = matching.map((one) => one.method).join(', ');
  throw new HttpError(405, `${shown(path)} takes ${allow}, not ${shown(method)}`, { headers: { allow } });
}

const shown = (text: string): string => JSON.stringify(text.slice(0, SHOWN_CHARACTERS));

/** The text in `path` for the template's `{id}`; empty for a template without one; undefined where they do not match. */
function idOf(template: string, path: string): string | undefined {
  if (!template.endsWith('/{id}')) return template === path ? '' : undefined;
  const before = template.slice(0, -'{id}'.length);
  const id = path.startsWith(before) ? path.slice(before.length) : '';
  return id === '' || id.includes('/') ? undefined : id;
}
