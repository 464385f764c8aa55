import { S3Client } from '@aws-sdk/client-s3';
import { keepsLogin, WHY_NOT_BELOW } from '../config/serve.ts';
import type { DeploymentDocument } from '../http/control/deployment.ts';
import type { Digest } from '../oci/digest.ts';
import { blobObjectKey } from '../store/keys.ts';
import { regionalEndpoint, s3Presigner } from '../store/s3-presign.ts';
import { must } from './check.ts';
import { askExactly, type ExactAnswer } from './exact-http.ts';
import { isLoopbackUrl } from './target.ts';

const URL_SECONDS = 60;

export interface SignedPlace {
  readonly bucket: string;
  readonly region: string;
  /** Scheme, host and port of the URL. */
  readonly endpoint: URL;
}

/** A URL of the blob like those of the function, with `contentType`: signed with the operator's credentials, valid for a minute. */
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
  /** The host that clients pull from, if it differs from the API's. */
  readonly registryUrl?: string;
  /** Whether it is the embedded stack, whose S3 has any port of this machine. */
  readonly isLocal: boolean;
}

/**
 * The URL of a redirect, checked: signed, for the blob in the deployment's bucket, at the host that the deployment signs for.
 *
 * @throws ContradictionError that shows only the host of the URL: anyone with the URL can read the blob.
 */
export function parseBlobUrl(location: string | undefined, digest: Digest, place: BlobPlace): URL {
  const url = URL.parse(location ?? '');
  must(url !== null, 'the redirect has no Location, or one that is not a URL');
  const { bucket, serve } = place.deployment;
  const expected = serve.blobEndpoint ?? regionalEndpoint(bucket, place.region).origin;
  const isThere = url.origin === expected || (place.isLocal && isLoopbackUrl(url));
  must(isThere, `the redirect leads to ${url.host}; expected ${expected}`);
  const own = URL.parse(place.registryUrl ?? '');
  const isBelow = !place.isLocal && own !== null && keepsLogin(own.hostname, url.hostname);
  must(!isBelow, `the redirect leads to ${url.host}, at or below the name of the cache: ${WHY_NOT_BELOW}`);
  const paths = [`/${blobObjectKey(digest)}`, `/${bucket}/${blobObjectKey(digest)}`];
  must(paths.includes(url.pathname), `the redirect leads to ${url.host}, but not to the blob`);
  must(url.searchParams.has('X-Amz-Signature'), `the redirect leads to ${url.host} by a URL that is not signed`);
  return url;
}

/** The answer of S3 at the URL, requested like a client does, without our login. */
export function askBlobUrl(
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<ExactAnswer> {
  return askExactly(url, { path: `${url.pathname}${url.search}`, headers }, signal);
}

/** Status and code of an answer of S3: its text repeats the signature. */
export function statusOfS3({ status, bytes }: ExactAnswer): string {
  const code = /<Code>([A-Za-z]{1,60})<\/Code>/.exec(bytes.toString('utf8'))?.[1];
  return code === undefined ? String(status) : `${status} ${code}`;
}
