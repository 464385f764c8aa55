import { UnauthenticatedError } from '../errors/cache-error.ts';
import type { Repository } from '../reference/reference.ts';
import type { AccessSettings, Caller } from './access.ts';

/** `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION`: without the path of the role's own ARN. */
const ASSUMED_ROLE = /^arn:(aws[a-z-]*):sts::(\d{12}):assumed-role\/([\w+=,.@-]{1,64})\/[\w+=,.@-]{1,64}$/;
/** Other principals that may sign: a user or the root of an account, a federated user. */
const PRINCIPAL =
  /^arn:aws[a-z-]*:(?:iam::\d{12}:(?:root|user\/[\x21-\x7e]{1,576})|sts::\d{12}:federated-user\/[\w+=,.@-]{1,64})$/;

/** OAuth writes several values of these into one string, separated by spaces (RFC 8693, section 4.2). */
const SPACED_CLAIMS: ReadonlySet<string> = new Set(['scope', 'scp']);
/** Claims that are lists unless the configuration says otherwise. */
const LIST_CLAIMS: ReadonlySet<string> = new Set([...SPACED_CLAIMS, 'groups', 'roles', 'cognito:groups']);

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The caller, from `requestContext.authorizer` of an HTTP API's event (payload 2.0): what API Gateway's authoriser proved, of the kind that the settings require.
 *
 * @throws UnauthenticatedError
 */
export function parseCaller(settings: AccessSettings, authorizer: unknown): Caller {
  const { iam, jwt } = isMap(authorizer) ? authorizer : {};
  const caller = settings.jwt === undefined ? iamCaller(iam) : jwtCaller(jwt);
  if (caller !== undefined) return caller;
  throw new UnauthenticatedError(
    settings.jwt === undefined
      ? 'no IAM principal is known for this request; sign it with SigV4 for the service "execute-api"'
      : 'no JSON Web Token is known for this request; send one of the configured issuer as "Authorization: Bearer …"',
  );
}

/** Whether API Gateway's IAM authoriser may give this ARN for a caller. */
export const isPrincipal = (userArn: string): boolean => ASSUMED_ROLE.test(userArn) || PRINCIPAL.test(userArn);

function iamCaller(iam: unknown): Caller | undefined {
  const userArn = isMap(iam) ? iam.userArn : undefined;
  if (typeof userArn !== 'string') return undefined;
  const role = ASSUMED_ROLE.exec(userArn);
  if (role !== null) return { kind: 'iam', arn: `arn:${role[1]}:iam::${role[2]}:role/${role[3]}` };
  return PRINCIPAL.test(userArn) ? { kind: 'iam', arn: userArn } : undefined;
}

function jwtCaller(jwt: unknown): Caller | undefined {
  const claims = isMap(jwt) ? jwt.claims : undefined;
  if (!isMap(claims) || Object.keys(claims).length === 0) return undefined;
  const subject = [claims.sub, claims.client_id, claims.azp].find((one) => typeof one === 'string' && one !== '');
  return { kind: 'jwt', subject: typeof subject === 'string' ? subject.slice(0, 200) : 'unnamed', claims };
}

/** A claim of the configuration, and whether its tokens have a list there. */
export interface ClaimName {
  readonly name: string;
  /** By default `groups`, `roles`, `cognito:groups`, `scope` and `scp` are lists. */
  readonly list?: boolean | undefined;
}

/**
 * The values of one claim. API Gateway's HTTP APIs give every claim as text: a list as `[a b]`, numbers and booleans as text. An element with a space looks like
 * two elements, and a list of one like a name in brackets: so a claim that is not a list is one value. A nested claim has no value.
 */
export function valuesOfClaim(claims: Readonly<Record<string, unknown>>, { name, list }: ClaimName): readonly string[] {
  const claim = Object.hasOwn(claims, name) ? claims[name] : undefined;
  const whole = Array.isArray(claim) ? (claim as unknown[]) : [claim];
  const texts = whole
    .filter((one) => typeof one === 'string' || typeof one === 'number' || typeof one === 'boolean')
    .map(String);
  const [text] = texts;
  if (texts.length !== 1 || text === undefined || Array.isArray(claim)) return texts.filter((one) => one !== '');
  const isList = (list ?? LIST_CLAIMS.has(name)) && text.startsWith('[') && text.endsWith(']');
  if (!isList && !SPACED_CLAIMS.has(name)) return text === '' ? [] : [text];
  return (isList ? text.slice(1, -1) : text).split(' ').filter((one) => one !== '');
}

/** The caller's name in the log: not a secret, and no other claims. */
export const nameOfCaller = (caller: Caller): string => (caller.kind === 'iam' ? caller.arn : caller.subject);

/** Who pulls by the registry endpoint, and what of. */
export interface Principal {
  /** For the log: `user:ci`, an ARN, or `anyone`. No secret. */
  readonly name: string;
  mayUse(repository: Repository): boolean;
}

/** Finds out who pulls. */
export interface Authenticator {
  /** The value of `WWW-Authenticate` in a 401. Undefined where no login is needed. */
  readonly challenge: string | undefined;
  /**
   * Who the header `Authorization` belongs to.
   *
   * @throws UnauthenticatedError if it is missing where it is needed, or is wrong; CacheError (retryable) where it could not be verified.
   */
  admit(authorization: string | undefined, signal: AbortSignal): Promise<Principal>;
}

/** The section `serve.auth` of the configuration. */
export type InboundAuth =
  /** Every client that reaches the endpoint may pull whatever the configuration allows: the network is the boundary. */
  | { readonly kind: 'none' }
  | {
      readonly kind: 'basic';
      /** Where the users are: a file (relative to the configuration's), or a secret of Secrets Manager. Without users only minted passwords are accepted. */
      readonly users?: { readonly file: string } | { readonly secretId: string };
    };
