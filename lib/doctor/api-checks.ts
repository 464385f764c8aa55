import { nameOfCaller, parseCaller } from '../access/principal.ts';
import { must, SkipError, type Check } from './check.ts';
import type { HttpAnswer } from './sigv4-requests.ts';
import { askApi, type OperatorCall, type Target } from './target.ts';

/** The target, which needs no cleaning. */
export type ApiFixture = Target & AsyncDisposable;

export const openApiFixture = (target: Target): ApiFixture => ({
  ...target,
  [Symbol.asyncDispose]: () => Promise.resolve(),
});

const SHOWN_CHARACTERS = 150;
const NO_REFERENCE = 'Upper/Case:v1';

export const shown = ({ status, text }: HttpAnswer): string => `${status} ${text.slice(0, SHOWN_CHARACTERS)}`.trim();

/** The JSON object of an answer; an empty one if it has none. */
export function documentOf({ text }: Pick<HttpAnswer, 'text'>): Readonly<Record<string, unknown>> {
  try {
    const document: unknown = JSON.parse(text);
    return typeof document === 'object' && document !== null ? (document as Record<string, unknown>) : {};
  } catch {
    return {}; // The caller reports what came instead.
  }
}

/** Sends a request that the function itself must refuse, naming the wrong field. */
async function mustNameField(
  target: Target,
  call: OperatorCall,
  field: string,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const answer = await askApi(target, call, signal);
  const isNamed = answer.status === 400 && documentOf(answer).field === field;
  must(isNamed, `${shown(answer)}; expected 400 and the field ${JSON.stringify(field)}`);
  return answer;
}

/** What API Gateway must do before and after the function. */
export const API_CHECKS: readonly Check<ApiFixture>[] = [
  {
    id: 'api-unsigned',
    claim: 'an unsigned request does not reach the function: 403, or 401 if the API takes tokens',
    awsOnly: 'its endpoint takes every request on this machine for the same caller',
    async run(fixture, signal) {
      const answer = await askApi(fixture, { path: '/v1/deployment', anonymous: true }, signal);
      must(answer.status === (fixture.token === undefined ? 403 : 401), shown(answer));
      // The function's own refusal would mean that the route has no authoriser.
      must(documentOf(answer).requestId === undefined, `the function itself answered: ${shown(answer)}`);
      return shown(answer);
    },
  },
  {
    id: 'api-signed',
    claim: 'a signed request is accepted, and the function gets the identity of its signer',
    async run(fixture, signal) {
      const answer = await askApi(fixture, { path: '/v1/deployment' }, signal);
      const { caller, version } = documentOf(answer);
      must(answer.status === 200 && typeof caller === 'string' && caller !== '', shown(answer));
      return `${caller}; version ${String(version)}`;
    },
  },
  {
    id: 'api-caller',
    claim: 'the caller is the principal that STS names, in the form that access rules are written for',
    awsOnly: 'its endpoint takes every request on this machine for the same caller',
    async run({ deployment, requests, region, token }, signal) {
      if (deployment instanceof SkipError) throw deployment;
      if (token !== undefined) throw new SkipError('this API takes tokens; compare the caller of api-signed by hand');
      const suffix = region.startsWith('cn-') ? '.cn' : '';
      const url = new URL(`https://sts.${region}.amazonaws.com${suffix}/`);
      const body = 'Action=GetCallerIdentity&Version=2011-06-15';
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const answer = await requests.signed('sts', { method: 'POST', url, headers, body }, signal);
      const arn = /<Arn>(arn:[^<]+)<\/Arn>/.exec(answer.text)?.[1];
      must(arn !== undefined, `STS answered ${shown(answer)}`);
      const expected = nameOfCaller(parseCaller({ rules: [] }, { iam: { userArn: arn } }));
      must(deployment.caller === expected, `the API sees ${deployment.caller}; STS says ${arn}`);
      return deployment.caller;
    },
  },
  {
    id: 'api-unknown-route',
    claim:
      'a path below /v1/ that has no route of its own is answered 404 by the control API, not by the registry endpoint',
    async run(fixture, signal) {
      const answer = await askApi(fixture, { path: '/v1/no-such-route' }, signal);
      // Only the control API's function names the request: neither the gateway nor the registry endpoint does.
      must(answer.status === 404 && documentOf(answer).requestId !== undefined, shown(answer));
      return shown(answer);
    },
  },
  {
    id: 'api-encoded-path',
    claim: 'an encoded slash in a path leads to no other route',
    async run(fixture, signal) {
      const answer = await askApi(fixture, { path: '/v1/pulls/..%2Fimages' }, signal);
      must(answer.status >= 400 && answer.status < 500, shown(answer));
      return shown(answer);
    },
  },
  {
    id: 'api-raw-query',
    claim: 'the query reaches the function as it was sent: not folded, and decoded once',
    async run(fixture, signal) {
      const twice = { path: '/v1/images?reference=alpine&reference=alpine' };
      const refused = await mustNameField(fixture, twice, 'reference', signal);
      must(String(documentOf(refused).detail).includes('twice'), shown(refused));
      // Not a reference, but decoded twice it would be "alpine".
      const path = `/v1/images?reference=${encodeURIComponent('%61lpine')}`;
      const answer = await askApi(fixture, { path }, signal);
      must(answer.status === 400, `${shown(answer)}; expected 400 for a reference with a "%"`);
      return 'a repeated parameter differs from one with a comma; "%2561" arrives as "%61"';
    },
  },
  {
    id: 'api-problems',
    claim: 'problem details and their headers pass unchanged',
    async run(fixture, signal) {
      const body = JSON.stringify({ reference: NO_REFERENCE });
      const call: OperatorCall = { method: 'POST', path: '/v1/pull', body };
      const { headers, text } = await mustNameField(fixture, call, 'reference', signal);
      const [type, id] = [headers.get('content-type') ?? '', headers.get('x-request-id')];
      must(type.startsWith('application/problem+json'), `content-type: ${type}`);
      must(
        id !== null && (JSON.parse(text) as { requestId?: string }).requestId === id,
        `x-request-id: ${id ?? 'none'}`,
      );
      return `400 ${type}, x-request-id ${id}`;
    },
  },
  {
    id: 'api-binary-body',
    claim: 'a body of an unknown type arrives whole, in base64',
    async run(fixture, signal) {
      const call: OperatorCall = {
        method: 'POST',
        path: '/v1/validate',
        headers: { 'content-type': 'application/octet-stream' },
        body: JSON.stringify({ reference: NO_REFERENCE }),
      };
      return shown(await mustNameField(fixture, call, 'reference', signal));
    },
  },
];
