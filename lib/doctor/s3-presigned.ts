import { S3Client } from '@aws-sdk/client-s3';
import type { Digest } from '../oci/digest.ts';
import { s3Presigner } from '../store/s3-presign.ts';

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
