import { algorithmOf, digestOf, type Digest } from '../oci/digest.ts';
import { isManifestOrIndexType } from '../oci/media-type.ts';
import { askBlobUrl, parseBlobUrl, presignedByOperator, statusOfS3 } from './s3-blob-url.ts';
import { must, SkipError, type Check } from './check.ts';
import { exactHeader, type ExactAnswer } from './exact-http.ts';
import { type RegistryFixture, answeredStatus } from './registry-fixture.ts';

const SOME_TYPE = 'application/vnd.entrepot.doctor+json';
/** The largest config that a check reads. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

const shownHeader = (answer: ExactAnswer, name: string): string =>
  `${name}: ${(answer.headers[name] ?? ['none']).join(' and ').slice(0, 200)}`;

/** The manifest of the tag or digest, with its headers. */
async function readManifest(
  fixture: RegistryFixture,
  pointer: string,
  signal: AbortSignal,
): Promise<ExactAnswer & { readonly digest: Digest }> {
  const path = `/v2/${fixture.image().name}/manifests/${pointer}`;
  const answer = await fixture.ask({ path }, signal);
  must(answer.status === 200, `GET ${path}: ${answeredStatus(answer)}`);
  const digest = digestOf(answer.bytes);
  mustHave(answer, 'docker-content-digest', digest);
  return { ...answer, digest };
}

/** @throws ContradictionError unless the header is there exactly once, with this value. */
function mustHave(answer: ExactAnswer, name: string, value: string): void {
  must(exactHeader(answer, name) === value, `${shownHeader(answer, name)}; expected ${value}`);
}

/** The URL to which a GET of the image's config is redirected. */
async function redirected(
  fixture: RegistryFixture,
  signal: AbortSignal,
): Promise<{ readonly url: URL; readonly answer: ExactAnswer; readonly digest: Digest; readonly size: number }> {
  const { digest, size } = (await fixture.completeManifest(signal)).config;
  const answer = await fixture.ask({ path: `/v2/${fixture.image().name}/blobs/${digest}` }, signal);
  must(answer.status === 307, `GET of the config: ${answeredStatus(answer)}; expected 307`);
  const { target, deployment } = fixture;
  return {
    url: parseBlobUrl(exactHeader(answer, 'location'), digest, { ...target, deployment }),
    answer,
    digest,
    size,
  };
}

/** The same, if the config is small enough to read. */
async function readableConfig(fixture: RegistryFixture, signal: AbortSignal): ReturnType<typeof redirected> {
  const found = await redirected(fixture, signal);
  if (found.size <= MAX_CONFIG_BYTES) return found;
  throw new SkipError(`the config of the image has ${found.size} bytes, too many to read here`);
}

/** What clients must get for manifests and blobs, from the endpoint and from S3. */
export const REGISTRY_CONTENT_CHECKS: readonly Check<RegistryFixture>[] = [
  {
    id: 'registry-manifest',
    claim: 'a manifest arrives byte for byte, by tag and by digest, with its own type and its exact length',
    async run(fixture, signal) {
      const { digest, ...named } = await readManifest(fixture, fixture.image().pointer, signal);
      const type = exactHeader(named, 'content-type') ?? '';
      must(isManifestOrIndexType(type), shownHeader(named, 'content-type'));
      mustHave(named, 'content-length', String(named.bytes.byteLength));
      mustHave(named, 'etag', `"${digest}"`);
      const same = await readManifest(fixture, digest, signal);
      must(same.digest === digest, `GET by digest ${digest} gives ${same.digest}`);
      return `${digest}, ${named.bytes.byteLength} bytes of ${type}`;
    },
  },
  {
    id: 'registry-manifest-head',
    claim: 'HEAD of a manifest has the length, digest and type of GET, without a body',
    async run(fixture, signal) {
      const got = await readManifest(fixture, fixture.image().pointer, signal);
      const path = `/v2/${fixture.image().name}/manifests/${got.digest}`;
      const head = await fixture.ask({ method: 'HEAD', path }, signal);
      must(head.status === 200, `HEAD ${path}: ${answeredStatus(head)}`);
      mustHave(head, 'content-length', String(got.bytes.byteLength));
      mustHave(head, 'docker-content-digest', got.digest);
      mustHave(head, 'content-type', exactHeader(got, 'content-type') ?? '');
      return `200, content-length: ${got.bytes.byteLength}`;
    },
  },
  {
    id: 'registry-not-modified',
    claim: 'If-None-Match with the ETag of a manifest is 304, with its headers and without a body',
    async run(fixture, signal) {
      const { digest } = await readManifest(fixture, fixture.image().pointer, signal);
      const path = `/v2/${fixture.image().name}/manifests/${digest}`;
      const answer = await fixture.ask({ path, headers: { 'if-none-match': `"other", "${digest}"` } }, signal);
      // askExactly refuses a body after it.
      must(answer.status === 304, `${answeredStatus(answer)}; expected 304`);
      mustHave(answer, 'etag', `"${digest}"`);
      mustHave(answer, 'docker-content-digest', digest);
      return `304 for "${digest}"`;
    },
  },
  {
    id: 'registry-accept',
    claim: 'several lines of Accept reach the function as one list',
    async run(fixture, signal) {
      const got = await readManifest(fixture, fixture.image().pointer, signal);
      const path = `/v2/${fixture.image().name}/manifests/${got.digest}`;
      const type = exactHeader(got, 'content-type') ?? '';
      for (const accept of [
        [SOME_TYPE, type],
        [type, SOME_TYPE],
      ]) {
        const answer = await fixture.ask({ path, headers: { accept } }, signal);
        must(answer.status === 200, `with the lines ${accept.join(' and ')}: ${answeredStatus(answer)}`);
      }
      const other = await fixture.ask({ path, headers: { accept: [SOME_TYPE, `${SOME_TYPE}2`] } }, signal);
      must(other.status === 406, `with lines that do not accept it: ${answeredStatus(other)}; expected 406`);
      return '200 where one of two lines takes the type, 406 where none does';
    },
  },
  {
    id: 'registry-blob-head',
    claim: 'HEAD of a blob has its size, although the function sends no body',
    async run(fixture, signal) {
      const { digest, size } = (await fixture.completeManifest(signal)).config;
      const path = `/v2/${fixture.image().name}/blobs/${digest}`;
      const head = await fixture.ask({ method: 'HEAD', path }, signal);
      must(head.status === 200, `HEAD ${path}: ${answeredStatus(head)}`);
      mustHave(head, 'content-length', String(size));
      mustHave(head, 'docker-content-digest', digest);
      return `200, content-length: ${size}`;
    },
  },
  {
    id: 'registry-blob-redirect',
    claim: 'GET of a blob is 307 to S3, with no-store and without a body',
    async run(fixture, signal) {
      const { url, answer, digest } = await redirected(fixture, signal);
      must(answer.bytes.byteLength === 0, `307 with a body of ${answer.bytes.byteLength} bytes`);
      mustHave(answer, 'cache-control', 'no-store');
      mustHave(answer, 'docker-content-digest', digest);
      return `307 to ${url.host}, cache-control: no-store`;
    },
  },
  {
    id: 'registry-blob-get',
    claim: 'S3 returns the bytes of the blob to anyone with the URL',
    async run(fixture, signal) {
      const { url, digest, size } = await readableConfig(fixture, signal);
      const answer = await askBlobUrl(url, {}, signal);
      must(answer.status === 200, `${url.host}: ${statusOfS3(answer)}`);
      const found = digestOf(answer.bytes, algorithmOf(digest));
      must(found === digest, `${url.host} gives ${answer.bytes.byteLength} bytes of ${found}; expected ${digest}`);
      return `${size} bytes of ${digest} from ${url.host}`;
    },
  },
  {
    id: 'registry-blob-range',
    claim: 'S3 returns a range of the blob for the same URL, although it is signed without a range: 206',
    async run(fixture, signal) {
      const { url, digest, size } = await readableConfig(fixture, signal);
      if (size < 2) throw new SkipError(`the config of the image has ${size} bytes: too few for a range`);
      const head = await askBlobUrl(url, { range: 'bytes=0-0' }, signal);
      const rest = await askBlobUrl(url, { range: 'bytes=1-' }, signal);
      for (const answer of [head, rest])
        must(answer.status === 206, `${url.host}: ${statusOfS3(answer)}; expected 206`);
      mustHave(rest, 'content-range', `bytes 1-${size - 1}/${size}`);
      const whole = digestOf(Buffer.concat([head.bytes, rest.bytes]), algorithmOf(digest));
      must(whole === digest, `two ranges give ${whole} together; expected ${digest}`);
      return `206, content-range: bytes 1-${size - 1}/${size}`;
    },
  },
  {
    id: 'registry-blob-type',
    claim: 'a URL that is signed with response-content-type returns the blob with that type',
    async run(fixture, signal) {
      const { url, digest } = await readableConfig(fixture, signal);
      const { target, deployment } = fixture;
      const place = { bucket: deployment.bucket, region: target.region, endpoint: new URL(url.origin) };
      const answer = await askBlobUrl(await presignedByOperator(place, digest, SOME_TYPE), {}, signal);
      must(answer.status === 200, `${url.host}: ${statusOfS3(answer)}`);
      mustHave(answer, 'content-type', SOME_TYPE);
      return `200, content-type: ${SOME_TYPE}`;
    },
  },
];
