import type { PublishedKey, SigningKey } from './access/signing-key.ts';
import type { Users } from './access/users.ts';
import type { dynamoClient } from './table/dynamo-client.ts';
import type { Config } from './config/config.ts';
import { notSet } from './errors/cache-error.ts';
import { lazily, lazy } from './async/lazily.ts';
import type { Fetcher } from './serve/fetcher.ts';
import type { WaitingRoom } from './serve/waiting-room.ts';
import type { StoreConnection } from './services.ts';
import type { Presigner } from './store/content-store.ts';
import { s3Presigner } from './store/s3-presign.ts';

/*
 * Parts of lib/services.ts that only serving and authentication need.
 */

type DynamoClient = ReturnType<typeof dynamoClient>;

/** Signs for `serve.blobEndpoint`, else for the endpoint of S3. */
export function presignerOf(
  { serve: { blobEndpoint } }: Config,
  { bucket, s3, s3Endpoint }: StoreConnection,
  { config: client }: DynamoClient,
): Presigner {
  const reached = s3?.endpoint ?? s3Endpoint;
  const endpoint = blobEndpoint ?? (typeof reached === 'string' ? new URL(reached) : undefined);
  return s3Presigner({
    bucket,
    region: () => client.region(),
    credentials: () => client.credentials(),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
}

/** Shared by all processes on the table. */
export const openWaitingRoom = (options: {
  readonly client: DynamoClient;
  readonly table: string;
  readonly waiting: number;
}): WaitingRoom =>
  lazily<WaitingRoom>(async () => (await import('./serve/dynamo-waiting-room.ts')).dynamoWaitingRoom(options), {
    enter: true,
  });

/** Asks registries by another function. Its first use throws ConfigError if no function is named. */
export function openFetcher({ fetchFunction }: StoreConnection, opened: AsyncDisposableStack): Fetcher {
  const fetcher = lazy(
    async () => {
      if (fetchFunction === undefined) throw notSet('ENTREPOT_FETCH_FUNCTION', 'the function that asks registries');
      const { lambdaFetcher } = await import('./serve/lambda-fetcher.ts');
      return lambdaFetcher(fetchFunction);
    },
    (remote) => remote.close(),
  );
  opened.defer(() => fetcher.close());
  return lazily<Fetcher>(() => fetcher.get(), {
    resolve: true,
    fetchManifest: true,
    fetchReferrers: true,
    listTags: true,
    confirm: true,
    sizeOfBlob: true,
    findRedirect: true,
    markLost: true,
  });
}

/** Signs passwords. Its first use throws ConfigError if neither a secret nor a file is named. */
export const openSigningKey = ({ signingSecret, signingKeyFile }: StoreConnection): SigningKey =>
  lazily<SigningKey>(
    async () => {
      if (signingSecret !== undefined) {
        return (await import('./access/secrets-signing-key.ts')).secretsSigningKey(signingSecret);
      }
      if (signingKeyFile !== undefined) {
        return (await import('./access/secrets-signing-key.ts')).localSigningKey(signingKeyFile);
      }
      throw notSet('ENTREPOT_SIGNING_SECRET', 'the secret that signs passwords');
    },
    { privateKey: true },
  );

export const openPublishedKey = (options: { readonly client: DynamoClient; readonly table: string }): PublishedKey =>
  lazily<PublishedKey>(async () => (await import('./access/dynamo-published-key.ts')).dynamoPublishedKey(options), {
    find: true,
    renew: true,
    replace: true,
  });

/** The users with their own passwords. */
export function openUsers({ serve: { auth } }: Config): Users {
  const place = auth.kind === 'basic' ? auth.users : undefined;
  if (place === undefined) return { read: () => Promise.resolve(new Map()) };
  return lazily<Users>(
    async () =>
      'file' in place
        ? (await import('./access/secrets-users.ts')).fileUsers(place.file)
        : (await import('./access/secrets-users.ts')).secretsUsers(place.secretId),
    { read: true },
  );
}
