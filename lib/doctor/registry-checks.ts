import { randomBytes } from 'node:crypto';
import { must, SkipError, type Check } from './check.ts';
import { exactHeader, type ExactAnswer } from './exact-http.ts';
import { isOurs, type RegistryFixture, answeredStatus } from './registry-fixture.ts';

const REMAPPED = 'x-amzn-remapped-www-authenticate';
const WRITING = ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
/** Statuses for a path that names nothing. */
const REFUSED = [400, 404];
/** The function answers within 20 s. */
const ANSWER_MS = 29_000;

/** The digest of the manifest at the path. */
async function digestAt(fixture: RegistryFixture, path: string, signal: AbortSignal): Promise<string> {
  const answer = await fixture.ask({ path }, signal);
  const digest = exactHeader(answer, 'docker-content-digest');
  must(answer.status === 200 && digest !== undefined, `GET ${path}: ${answeredStatus(answer)}`);
  return digest;
}

const plainPath = (fixture: RegistryFixture): string => {
  const { name, pointer } = fixture.image();
  return `/v2/${name}/manifests/${pointer}`;
};

/** Paths that lead to the manifest only if a server on the way normalises them, each with a description. */
function oddPaths(fixture: RegistryFixture): readonly (readonly [what: string, path: string])[] {
  const { repository, name, pointer } = fixture.image();
  const { registry, path } = repository;
  const last = `manifests/${pointer}`;
  return [
    ['//', `/v2/${registry}//${path}/${last}`],
    ['// first', `/v2//${name}/${last}`],
    ['..', `/v2/${registry}/doctor/../${path}/${last}`],
    ['%2e%2e', `/v2/${registry}/doctor/%2e%2e/${path}/${last}`],
    ['%2F..%2F', `/v2/${registry}/doctor%2F..%2F${path}/${last}`],
    ['.', `/v2/${registry}/./${path}/${last}`],
    ['%3F', `/v2/${name}%3Fdoctor/${last}`],
    ['%23', `/v2/${name}%23doctor/${last}`],
    ['%00', `/v2/${name}/${last}%00`],
  ];
}

const byWhom = (answer: ExactAnswer): string => (isOurs(answer) ? '' : ' not by the function');

/** What API Gateway or the load balancer must pass on, in both directions. */
export const REGISTRY_CHECKS: readonly Check<RegistryFixture>[] = [
  {
    id: 'registry-challenge',
    claim: 'a request without a login gets 401 with the challenge, in the header that clients read',
    async run(fixture, signal) {
      if (fixture.deployment.serve.auth === 'none') throw new SkipError('serve.auth is none: no login is needed');
      const answer = await fixture.askAnonymously({ path: '/v2/' }, signal);
      must(answer.status === 401, `${answeredStatus(answer)}; expected 401`);
      const challenges = answer.headers['www-authenticate'] ?? [];
      const seen =
        REMAPPED in answer.headers ? `none, but ${REMAPPED}, by which no client logs in` : challenges.join(' and ');
      must(
        challenges.length === 1 && /^Basic realm="/i.test(challenges.join()),
        `WWW-Authenticate: ${seen.slice(0, 200)}`,
      );
      return `401, WWW-Authenticate: ${challenges.join()}`;
    },
  },
  {
    id: 'registry-login',
    claim: 'a password of POST /v1/token is accepted: GET /v2/ is 200',
    async run(fixture, signal) {
      const isAsked = fixture.deployment.serve.auth !== 'none';
      const headers = isAsked ? { authorization: await fixture.newLogin(signal) } : {};
      const answer = await fixture.askAnonymously({ path: '/v2/', headers }, signal);
      must(answer.status === 200 && isOurs(answer), `${answeredStatus(answer)}; expected 200`);
      return isAsked ? '200 with a password that was just minted' : '200 without a login: serve.auth is none';
    },
  },
  {
    id: 'registry-methods',
    claim: 'other methods reach the function, which refuses them: 405',
    async run(fixture, signal) {
      for (const method of WRITING) {
        const answer = await fixture.ask({ method, path: '/v2/doctor/blobs/uploads/' }, signal);
        must(answer.status === 405 && isOurs(answer), `${method}: ${answeredStatus(answer)}; expected 405`);
        must(
          exactHeader(answer, 'allow') === 'GET, HEAD',
          `${method}: 405 with Allow: ${exactHeader(answer, 'allow') ?? 'none'}`,
        );
      }
      return `405 with Allow: GET, HEAD for ${WRITING.join(', ')}`;
    },
  },
  {
    id: 'registry-odd-paths',
    claim: 'a path with "//", "..", or what could be decoded to them, is refused: 400 or 404',
    async run(fixture, signal) {
      // Without this success, the refusals below would prove nothing.
      await digestAt(fixture, plainPath(fixture), signal);
      const seen: string[] = [];
      for (const [what, path] of oddPaths(fixture)) {
        const answer = await fixture.ask({ path }, signal);
        must(REFUSED.includes(answer.status), `GET ${path}: ${answeredStatus(answer)}; expected 400 or 404`);
        seen.push(`${what} ${answer.status}${byWhom(answer)}`);
      }
      // The request is not signed for the control API, so that must not answer it.
      const outside = await fixture.ask({ path: '/v2/../v1/deployment' }, signal);
      must(outside.status >= 400 && outside.status < 500, `GET /v2/../v1/deployment: ${answeredStatus(outside)}`);
      return seen.join(', ');
    },
  },
  {
    id: 'registry-encoded-path',
    claim: 'a path is decoded at most once, and then equals the plain path',
    async run(fixture, signal) {
      const { repository, name, pointer } = fixture.image();
      const plain = await digestAt(fixture, plainPath(fixture), signal);
      // Some clients escape the colon of a digest.
      const escaped = await digestAt(fixture, `/v2/${name}/manifests/${plain.replace(':', '%3A')}`, signal);
      must(escaped === plain, `with "%3A" in the digest: ${escaped}; expected ${plain}`);
      const at = (slash: string): string => `/v2/${repository.registry}${slash}${repository.path}/manifests/${pointer}`;
      const twice = await fixture.ask({ path: at('%252F') }, signal);
      must(REFUSED.includes(twice.status), `GET ${at('%252F')}: ${answeredStatus(twice)}; expected 400 or 404`);
      const once = await fixture.ask({ path: at('%2F') }, signal);
      const isSame = once.status === 200 && exactHeader(once, 'docker-content-digest') === plain;
      must(isSame || REFUSED.includes(once.status), `GET ${at('%2F')}: ${answeredStatus(once)}`);
      return isSame ? 'paths arrive decoded once' : `paths arrive as they are sent: "%2F" is ${answeredStatus(once)}`;
    },
  },
  {
    id: 'registry-query',
    claim:
      'the query reaches the function whole, and decoded once: "ns" names the registry, and a repeated one is refused',
    async run(fixture, signal) {
      const { repository, pointer } = fixture.image();
      const { registry, path } = repository;
      const plain = await digestAt(fixture, plainPath(fixture), signal);
      const asked = `/v2/${path}/manifests/${pointer}?ns=`;
      const hex = (registry.codePointAt(0) ?? 0).toString(16);
      for (const ns of [registry, `%${hex}${registry.slice(1)}`]) {
        const digest = await digestAt(fixture, `${asked}${ns}`, signal);
        must(digest === plain, `GET ${asked}${ns}: ${digest}; expected ${plain}`);
      }
      const twice = await fixture.ask({ path: `${asked}${registry}&ns=${registry}` }, signal);
      must(twice.status === 400 && isOurs(twice), `"ns" given twice: ${answeredStatus(twice)}; expected 400`);
      return '"ns" arrives, escaped or not; given twice it is 400';
    },
  },
  {
    id: 'registry-fetch',
    claim: 'the function "fetch" asks the registry for missing manifests: 404 if it has none',
    async run(fixture, signal) {
      // By digest: "not found" is remembered for tags only.
      const path = `/v2/${fixture.image().name}/manifests/sha256:${randomBytes(32).toString('hex')}`;
      const answer = await fixture.ask({ path }, signal);
      const seen = `${answeredStatus(answer)} after ${Math.round(answer.durationMs)} ms`;
      must(
        answeredStatus(answer) === '404 MANIFEST_UNKNOWN' && answer.durationMs < ANSWER_MS,
        `a digest that nobody has: ${seen}`,
      );
      return seen;
    },
  },
];
