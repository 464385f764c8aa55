import { randomBytes } from 'node:crypto';
import { must, SkipError, type Check } from './check.ts';
import { headerOf, type ExactAnswer } from './exact-http.ts';
import { isOurs, type RegistryFixture, told } from './registry-fixture.ts';

const REMAPPED = 'x-amzn-remapped-www-authenticate';
const WRITING = ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
/** What a path that names nothing is answered with. */
const REFUSED = [400, 404];
/** The function is done after 20 s, whatever it waits for. */
const ANSWER_MS = 29_000;

/** The digest of the manifest of the image, which is what every way of asking for it must lead to. */
async function digestAt(scene: RegistryFixture, path: string, signal: AbortSignal): Promise<string> {
  const answer = await scene.ask({ path }, signal);
  const digest = headerOf(answer, 'docker-content-digest');
  must(answer.status === 200 && digest !== undefined, `GET ${path}: ${told(answer)}`);
  return digest;
}

const plainPath = (scene: RegistryFixture): string => {
  const { name, pointer } = scene.image();
  return `/v2/${name}/manifests/${pointer}`;
};

/** Paths that lead to the manifest only if somebody on the way resolves them: what each of them is, and itself. */
function oddPaths(scene: RegistryFixture): readonly (readonly [what: string, path: string])[] {
  const { repository, name, pointer } = scene.image();
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

const byWhom = (answer: ExactAnswer): string => (isOurs(answer) ? '' : ' by the door');

/** What the door of the registry endpoint must carry in, and out. */
export const REGISTRY_CHECKS: readonly Check<RegistryFixture>[] = [
  {
    id: 'registry-challenge',
    claim: 'who brings no login is answered 401 with the challenge, in the header that clients look for',
    async run(scene, signal) {
      if (scene.deployment.serve.auth === 'none')
        throw new SkipError('serve.auth is none: nobody is asked for a login');
      const answer = await scene.askAsNobody({ path: '/v2/' }, signal);
      must(answer.status === 401, `${told(answer)}; expected 401`);
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
    claim: 'who brings a password of POST /v1/token is let in: GET /v2/ is 200',
    async run(scene, signal) {
      const isAsked = scene.deployment.serve.auth !== 'none';
      const headers = isAsked ? { authorization: await scene.mint(signal) } : {};
      const answer = await scene.askAsNobody({ path: '/v2/', headers }, signal);
      must(answer.status === 200 && isOurs(answer), `${told(answer)}; expected 200`);
      return isAsked ? '200 with a password that was just minted' : '200 without a login: serve.auth is none';
    },
  },
  {
    id: 'registry-methods',
    claim: 'other methods reach the function, which refuses them: 405',
    async run(scene, signal) {
      for (const method of WRITING) {
        const answer = await scene.ask({ method, path: '/v2/doctor/blobs/uploads/' }, signal);
        must(answer.status === 405 && isOurs(answer), `${method}: ${told(answer)}; expected 405`);
        must(
          headerOf(answer, 'allow') === 'GET, HEAD',
          `${method}: 405 with Allow: ${headerOf(answer, 'allow') ?? 'none'}`,
        );
      }
      return `405 with Allow: GET, HEAD for ${WRITING.join(', ')}`;
    },
  },
  {
    id: 'registry-odd-paths',
    claim: 'a path with "//", "..", or what could be decoded into such, is refused and leads nowhere: 400 or 404',
    async run(scene, signal) {
      // Were it not to be had at all, that the others are refused would say nothing.
      await digestAt(scene, plainPath(scene), signal);
      const seen: string[] = [];
      for (const [what, path] of oddPaths(scene)) {
        const answer = await scene.ask({ path }, signal);
        must(REFUSED.includes(answer.status), `GET ${path}: ${told(answer)}; expected 400 or 404`);
        seen.push(`${what} ${answer.status}${byWhom(answer)}`);
      }
      // To the control API nobody signed it: however it is resolved, it must not be answered there.
      const outside = await scene.ask({ path: '/v2/../v1/deployment' }, signal);
      must(outside.status >= 400 && outside.status < 500, `GET /v2/../v1/deployment: ${told(outside)}`);
      return seen.join(', ');
    },
  },
  {
    id: 'registry-encoded-path',
    claim: 'a path is decoded once at most, and is the same then as if it had been sent so',
    async run(scene, signal) {
      const { repository, name, pointer } = scene.image();
      const plain = await digestAt(scene, plainPath(scene), signal);
      // Some clients escape the colon of a digest.
      const escaped = await digestAt(scene, `/v2/${name}/manifests/${plain.replace(':', '%3A')}`, signal);
      must(escaped === plain, `with "%3A" in the digest: ${escaped}; expected ${plain}`);
      const at = (slash: string): string => `/v2/${repository.registry}${slash}${repository.path}/manifests/${pointer}`;
      const twice = await scene.ask({ path: at('%252F') }, signal);
      must(REFUSED.includes(twice.status), `GET ${at('%252F')}: ${told(twice)}; expected 400 or 404`);
      const once = await scene.ask({ path: at('%2F') }, signal);
      const isSame = once.status === 200 && headerOf(once, 'docker-content-digest') === plain;
      must(isSame || REFUSED.includes(once.status), `GET ${at('%2F')}: ${told(once)}`);
      return isSame ? 'paths arrive decoded once' : `paths arrive as they are sent: "%2F" is ${told(once)}`;
    },
  },
  {
    id: 'registry-query',
    claim: 'the query reaches the function whole, and decoded once: "ns" names the registry, and is refused twice',
    async run(scene, signal) {
      const { repository, pointer } = scene.image();
      const { registry, path } = repository;
      const plain = await digestAt(scene, plainPath(scene), signal);
      const asked = `/v2/${path}/manifests/${pointer}?ns=`;
      const hex = (registry.codePointAt(0) ?? 0).toString(16);
      for (const ns of [registry, `%${hex}${registry.slice(1)}`]) {
        const digest = await digestAt(scene, `${asked}${ns}`, signal);
        must(digest === plain, `GET ${asked}${ns}: ${digest}; expected ${plain}`);
      }
      const twice = await scene.ask({ path: `${asked}${registry}&ns=${registry}` }, signal);
      must(twice.status === 400 && isOurs(twice), `"ns" given twice: ${told(twice)}; expected 400`);
      return '"ns" arrives, escaped or not; given twice it is 400';
    },
  },
  {
    id: 'registry-fetch',
    claim: 'what is not there is asked of its registry, by the function "fetch": 404 where that has none',
    async run(scene, signal) {
      // By digest: "not found" is remembered of tags, and of nothing else.
      const path = `/v2/${scene.image().name}/manifests/sha256:${randomBytes(32).toString('hex')}`;
      const answer = await scene.ask({ path }, signal);
      const seen = `${told(answer)} after ${Math.round(answer.durationMs)} ms`;
      must(
        told(answer) === '404 MANIFEST_UNKNOWN' && answer.durationMs < ANSWER_MS,
        `a digest that nobody has: ${seen}`,
      );
      return seen;
    },
  },
];
