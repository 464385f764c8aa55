import { S3Client } from '@aws-sdk/client-s3';
import { keepsLogin, WHY_NOT_BELOW } from '../config/serve.ts';
import type { DeploymentDocument } from '../http/control/deployment.ts';
import type { Digest } from '../oci/digest.ts';
import { blobKey } from '../store/keys.ts';
import { regionalEndpoint, s3Presigner } from '../store/s3-presign.ts';
import { must } from './check.ts';
import { askExactly, type ExactAnswer } from './exact-http.ts';
import { isLoopback } from './target.ts';

const URL_SECONDS = 60;

export interface SignedPlace {
  readonly bucket: string;
  readonly region: string;
  /** Scheme, host and port that the URL is for. */
  readonly endpoint: URL;
}

/** A URL of the blob as the function signs them, under `contentType`: signed with the operator's credentials, and good for a minute. */
export async function presignedByOperator(
  { bucket, region, endpoint }: SignedPlace,
  digest: Digest,
  contentType: string,
): Promise<URL> {
  const client = new S3Client({ region });
  try {
    const presigner = s3Presigner({
      bucket,
      region: () => Promise.resolve(region),
      credentials: () => client.config.credentials(),
      endpoint,
    });
    return await presigner.presign(digest, { lifetimeSeconds: URL_SECONDS, contentType });
  } finally {
    client.destroy();
  }
}

export interface BlobPlace {
  readonly deployment: Pick<DeploymentDocument, 'bucket' | 'serve'>;
  readonly region: string;
  /** That clients pull from, where it is not the API's own. */
  readonly registryUrl?: string;
  /** The embedded stack, whose S3 is somewhere on this machine. */
  readonly isLocal: boolean;
}

/**
 * The URL of a redirect, if it is one of the blob in the deployment's bucket, signed, at the address that the deployment signs for.
 *
 * @throws ContradictionError that shows no more of it than the host: whoever has the URL has the blob.
 */
export function parseBlobUrl(location: string | undefined, digest: Digest, place: BlobPlace): URL {
  const url = URL.parse(location ?? '');
  must(url !== null, 'the redirect has no Location, or one that is no URL');
  const { bucket, serve } = place.deployment;
  const expected = serve.blobEndpoint ?? regionalEndpoint(bucket, place.region).origin;
  const isThere = url.origin === expected || (place.isLocal && isLoopback(url));
  must(isThere, `the redirect leads to ${url.host}; expected ${expected}`);
  const own = URL.parse(place.registryUrl ?? '');
  const isBelow = !place.isLocal && own !== null && keepsLogin(own.hostname, url.hostname);
  must(!isBelow, `the redirect leads to ${url.host}, at or below the name of the cache: ${WHY_NOT_BELOW}`);
  const paths = [`/${blobKey(digest)}`, `/${bucket}/${blobKey(digest)}`];
  must(paths.includes(url.pathname), `the redirect leads to ${url.host}, but to something else than the blob`);
  must(url.searchParams.has('X-Amz-Signature'), `the redirect leads to ${url.host} by a URL that is not signed`);
  return url;
}

/** What S3 answers at the URL: asked as clients do, without our login. */
export function askBlobUrl(
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<ExactAnswer> {
  return askExactly(url, { path: `${url.pathname}${url.search}`, headers }, signal);
}

/** Status and code of an answer of S3: its words repeat the signature. */
export function toldByS3({ status, bytes }: ExactAnswer): string {
  const code = /<Code>([A-Za-z]{1,60})<\/Code>/.exec(bytes.toString('utf8'))?.[1];
  return code === undefined ? String(status) : `${status} ${code}`;
}
