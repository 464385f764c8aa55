import { createHash, createHmac } from 'node:crypto';
import type { Presigner } from './content-store.ts';
import { blobObjectKey } from './keys.ts';

/** AWS Signature Version 4: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
const ALGORITHM = 'AWS4-HMAC-SHA256';

/** Credentials from the AWS SDK's chain. */
export interface SigningIdentity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

export interface PresignerOptions {
  readonly bucket: string;
  readonly region: () => Promise<string>;
  readonly credentials: () => Promise<SigningIdentity>;
  /**
   * Scheme, host and port of the URLs. The name of the bucket goes into the path, unless the host begins with
   * it. Default: S3's endpoint in the region.
   */
  readonly endpoint?: URL;
}

/**
 * Our own signer: every layer needs one, and the SDK's would load the whole S3 client at a cold start.
 */
export function s3Presigner({ bucket, region, credentials, endpoint }: PresignerOptions): Presigner {
  const signingKey = cachedSigningKey();
  return {
    async presign(digest, { lifetimeSeconds, contentType }) {
      const [identity, inRegion] = await Promise.all([credentials(), region()]);
      const now = new Date();
      const url = objectUrl(endpoint ?? regionalEndpoint(bucket, inRegion), bucket, blobObjectKey(digest));
      const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
      const scope = `${stamp.slice(0, 8)}/${inRegion}/s3/aws4_request`;
      const query = canonicalQuery({
        'X-Amz-Algorithm': ALGORITHM,
        'X-Amz-Credential': `${identity.accessKeyId}/${scope}`,
        'X-Amz-Date': stamp,
        'X-Amz-Expires': String(lifetimeOf(lifetimeSeconds, identity, now)),
        ...(identity.sessionToken === undefined ? {} : { 'X-Amz-Security-Token': identity.sessionToken }),
        'X-Amz-SignedHeaders': 'host',
        ...(contentType === undefined ? {} : { 'response-content-type': contentType }),
      });
      const request = ['GET', url.pathname, query, `host:${url.host}\n`, 'host', 'UNSIGNED-PAYLOAD'].join('\n');
      const hash = createHash('sha256').update(request).digest('hex');
      const key = signingKey(identity.secretAccessKey, stamp.slice(0, 8), inRegion);
      const signature = hmac(key, [ALGORITHM, stamp, scope, hash].join('\n')).toString('hex');
      url.search = `?${query}&X-Amz-Signature=${signature}`;
      return url;
    },
  };
}

/**
 * `https://bucket.s3.region.amazonaws.com`. A bucket with dots goes into the path, because S3's certificate
 * does not cover it.
 */
export function regionalEndpoint(bucket: string, region: string): URL {
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  return new URL(`https://${bucket.includes('.') ? '' : `${bucket}.`}s3.${region}.${domain}`);
}

function objectUrl(endpoint: URL, bucket: string, key: string): URL {
  const url = new URL(endpoint.origin);
  url.pathname = endpoint.hostname.startsWith(`${bucket}.`) ? `/${key}` : `/${bucket}/${key}`;
  return url;
}

/** Whole seconds, at least 1: a URL that expires at once fails when it is used, and newer credentials sign the next one. */
function lifetimeOf(wantedSeconds: number, { expiration }: SigningIdentity, now: Date): number {
  if (expiration === undefined) return wantedSeconds;
  return Math.max(1, Math.min(wantedSeconds, Math.floor((expiration.getTime() - now.getTime()) / 1000)));
}

const canonicalQuery = (parameters: Readonly<Record<string, string>>): string =>
  Object.entries(parameters)
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}`)
    .sort()
    .join('&');

/** RFC 3986: also escapes the characters that encodeURIComponent leaves alone, as S3 does. */
const escaped = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** Caches the signing key, which is the same for all signatures of a day. */
function cachedSigningKey(): (secret: string, day: string, region: string) => Buffer {
  let cached: { readonly of: string; readonly key: Buffer } | undefined;
  return (secret, day, region) => {
    const of = `${secret} ${day} ${region}`;
    if (cached?.of !== of) {
      const key = ['s3', 'aws4_request'].reduce<Buffer>(hmac, hmac(hmac(`AWS4${secret}`, day), region));
      cached = { of, key };
    }
    return cached.key;
  };
}
