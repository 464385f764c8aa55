import type { Catalog } from './catalog/catalog.ts';
import { dynamoCatalog } from './catalog/dynamo-catalog.ts';
import { dynamoClient, type DynamoConnection } from './catalog/dynamo-client.ts';
import type { Config } from './config/config.ts';
import { dynamoLeases } from './lock/dynamo-lease.ts';
import type { Platform } from './oci/platform.ts';
import type { PullDeps, PullLimits } from './pull/pull-request.ts';
import { createUpstreams } from './registry/client.ts';
import type { ContentStore } from './store/content-store.ts';
import { s3Client, type S3ClientOptions } from './store/s3-client.ts';
import { s3RefRecords } from './store/s3-refs.ts';
import { s3ContentStore } from './store/s3-store.ts';

/** The bucket and table, and how to reach them where the AWS SDK's own variables do not say it. */
export interface StoreConnection {
  readonly bucket: string;
  readonly table: string;
  /** True where the variables of the environment lead S3 to an endpoint without a host name for each bucket. */
  readonly s3PathStyle?: boolean;
  /** The embedded stack's S3. */
  readonly s3?: S3ClientOptions;
  /** The embedded stack's DynamoDB. */
  readonly dynamo?: DynamoConnection;
}

/** Everything that pulling and validating needs, composed once for the life of a process. */
export interface Services extends AsyncDisposable {
  readonly catalog: Catalog;
  readonly store: ContentStore;
  readonly limits: PullLimits;
  readonly pull: PullDeps;
  /** The configured platforms of a registry, by its canonical name. */
  readonly defaultPlatforms: (registry: string) => readonly Platform[];
  /** Ends all connections. Idempotent. */
  close(): Promise<void>;
}

/** Composes the services. Sends no request. */
export function openServices(config: Config, connection: StoreConnection): Services {
  const { bucket, table } = connection;
  const { limits, registries } = config;
  const forcePathStyle = connection.s3?.endpoint !== undefined || connection.s3PathStyle === true;
  const s3 = s3Client({ forcePathStyle, ...connection.s3 });
  const dynamo = dynamoClient(connection.dynamo);

  const catalog = dynamoCatalog({ client: dynamo, table });
  const { partBytes, windowParts } = limits;
  const store = s3ContentStore({ client: s3, bucket, partBytes, windowParts });
  const upstreams = createUpstreams({
    registries,
    limits: limits.upstream,
    ...(config.dockerConfigPath === undefined ? {} : { dockerConfigPath: config.dockerConfigPath }),
  });
  const defaultPlatforms = (registry: string): readonly Platform[] => registries.get(registry)?.platforms ?? [];

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= upstreams.close().finally(() => {
      s3.destroy();
      dynamo.destroy();
    }));
  return {
    catalog,
    store,
    limits: limits.pull,
    defaultPlatforms,
    pull: {
      catalog,
      store,
      upstreams,
      defaultPlatforms,
      leases: dynamoLeases({ client: dynamo, table, durationMs: limits.leaseMs }),
      refs: s3RefRecords({ client: s3, bucket }),
      limits: limits.pull,
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
