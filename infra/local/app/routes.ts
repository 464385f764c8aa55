/** One route of the HTTP API: `GET /v1/pulls/{id}`. */
export interface Route {
  /** `ANY` is every method. */
  readonly method: string;
  /** Parts may be `{name}`, and the last one `{name+}`; {@link DEFAULT_PATH} is whatever no other route takes. */
  readonly path: string;
  readonly functionName: string;
}

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html#http-api-develop-routes.default */
export const DEFAULT_PATH = '$default';

export interface RouteMatch {
  readonly route: Route;
  /** Decoded. */
  readonly pathParameters: Readonly<Record<string, string>>;
}

/**
 * The route that API Gateway would take: a full match before one with variables, that before a greedy one, and the method itself before `ANY`.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html#http-api-develop-routes.evaluation
 */
export function findRoute(routes: readonly Route[], method: string, path: string): RouteMatch | undefined {
  const matches: { match: RouteMatch; rank: string }[] = [];
  for (const route of routes) {
    if (route.path === DEFAULT_PATH || (route.method !== method && route.method !== 'ANY')) continue;
    const pathParameters = parametersOf(route.path, path);
    if (pathParameters !== undefined) matches.push({ match: { route, pathParameters }, rank: rankOf(route) });
  }
  const byDefault = routes.find(({ path: pattern }) => pattern === DEFAULT_PATH);
  const rest = byDefault === undefined ? undefined : { route: byDefault, pathParameters: {} };
  return matches.sort((a, b) => (a.rank < b.rank ? -1 : 1))[0]?.match ?? rest;
}

function parametersOf(pattern: string, path: string): Record<string, string> | undefined {
  const [wanted, given] = [partsOf(pattern), partsOf(path)];
  const parameters: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const { name, greedy } = /^\{(?<name>[^}+]+)(?<greedy>\+?)\}$/.exec(part)?.groups ?? {};
    const value = greedy === '+' ? given.slice(index).join('/') : (given[index] ?? '');
    if (name === undefined ? value !== part : value === '') return undefined;
    if (name !== undefined) parameters[name] = decoded(value);
    if (greedy === '+') return parameters;
  }
  return wanted.length === given.length ? parameters : undefined;
}

/** The more variable an early part, the later the route comes; the method itself comes before ANY. */
function rankOf({ path, method }: Route): string {
  const parts = partsOf(path).map((part) => (part.endsWith('+}') ? '2' : part.startsWith('{') ? '1' : '0'));
  return `${parts.join('')} ${method === 'ANY' ? 1 : 0}`;
}

const partsOf = (path: string): string[] => path.split('/').slice(1);

/** What is no valid escape stays as it came. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
