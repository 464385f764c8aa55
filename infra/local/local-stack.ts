import { createHash } from 'node:crypto';
import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import type { S3ClientConfig } from '@aws-sdk/client-s3';

export interface StackCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Endpoints and keys of a running embedded stack. */
export interface StackEndpoints {
  readonly s3Endpoint: string;
  readonly dynamoEndpoint: string;
  readonly bucket: string;
  readonly table: string;
  readonly region: string;
  readonly credentials: StackCredentials;
  /** File of the key that signs passwords on this machine. Made on first use. */
  readonly signingKeyFile: string;
}

/** An embedded S3 and DynamoDB on this machine, with bucket and table ready, for as long as it is held. */
export interface LocalStack extends StackEndpoints, AsyncDisposable {
  /** Releases the stack. Idempotent. */
  close(): Promise<void>;
}

/** Derived from the credentials, so that only readers of the home know it: identifies the state of this home. */
export const markOf = ({ secretAccessKey }: StackCredentials): string =>
  `home-${createHash('sha256').update(secretAccessKey).digest('hex').slice(0, 32)}`;

export const LOCAL_REGION = 'us-east-1';

/** The servers of a stack: loopback ports, or the endpoint of another DynamoDB, which may have other tables. */
export interface StackPlaces {
  readonly s3: number;
  readonly dynamodb: number | string;
}

/** The endpoints of a stack. */
export function stackAt(
  { s3, dynamodb }: StackPlaces,
  credentials: StackCredentials,
  signingKeyFile: string,
): StackEndpoints {
  return {
    s3Endpoint: `http://127.0.0.1:${s3}`,
    dynamoEndpoint: typeof dynamodb === 'string' ? dynamodb : `http://127.0.0.1:${dynamodb}`,
    bucket: 'entrepot',
    table: typeof dynamodb === 'string' ? `entrepot-${markOf(credentials)}` : 'entrepot',
    region: LOCAL_REGION,
    credentials,
    signingKeyFile,
  };
}

/** What an S3Client needs to talk to the stack. */
export function s3ClientConfig(stack: StackEndpoints): S3ClientConfig {
  return {
    endpoint: stack.s3Endpoint,
    region: stack.region,
    credentials: { ...stack.credentials },
    forcePathStyle: true, // bucket.127.0.0.1 has no DNS name
  };
}

/** What a DynamoDBClient needs to talk to the stack. */
export function dynamoClientConfig(stack: StackEndpoints): DynamoDBClientConfig {
  return { endpoint: stack.dynamoEndpoint, region: stack.region, credentials: { ...stack.credentials } };
}

/** The stack as the environment variables that the AWS SDK and Entrepot read. */
export function stackEnvironment(stack: StackEndpoints): Readonly<Record<string, string>> {
  return {
    AWS_ENDPOINT_URL_S3: stack.s3Endpoint,
    AWS_ENDPOINT_URL_DYNAMODB: stack.dynamoEndpoint,
    AWS_REGION: stack.region,
    AWS_ACCESS_KEY_ID: stack.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: stack.credentials.secretAccessKey,
    ENTREPOT_BUCKET: stack.bucket,
    ENTREPOT_TABLE: stack.table,
    ENTREPOT_SIGNING_KEY_FILE: stack.signingKeyFile,
  };
}
