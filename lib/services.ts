import type { PublishedKey, SigningKey } from './access/signing-key.ts';
import type { Users } from './access/users.ts';
import type { Catalog } from './catalog/ports.ts';
import { dynamoCatalog } from './catalog/dynamo-catalog.ts';
import { dynamoClient, type DynamoConnection } from './table/dynamo-client.ts';
import type { Config, Limits } from './config/config.ts';
import { notSet } from './errors/cache-error.ts';
import type { Executions, Jobs } from './jobs/jobs.ts';
import type { PullRecords } from './jobs/pull-record.ts';
import { lazily, lazy } from './async/lazily.ts';
import { dynamoLeases } from './lock/dynamo-lease.ts';
import type { Leases } from './lock/lease.ts';
import type { Platform } from './oci/platform.ts';
import type { PullDeps, PullLimits } from './pull/pull-request.ts';
import { allowRule } from './registry/settings.ts';
import type { Upstreams } from './registry/upstream.ts';
import type { Fetcher } from './serve/fetcher.ts';
import type { WaitingRoom } from './serve/waiting-room.ts';
import type { ContentStore, Plans, Presigner, RefRecords } from './store/content-store.ts';
import type { S3ClientOptions } from './store/s3-client.ts';
import {
  openFetcher,
  openPublishedKey,
  openSigningKey,
  openUsers,
  openWaitingRoom,
  presignerOf,
} from './serving-services.ts';
import type { Announcer } from './jobs/announcer.ts';
import type { WarmupRuns } from './warmup/warmup-runs.ts';

/** Overrides the AWS SDK's own variables for one service. */
type ServicePlace = DynamoConnection;

/** The bucket and the table, and overrides of the AWS SDK's own variables. */
export interface StoreConnection {
  readonly bucket: string;
  readonly table: string;
  /** ARN of the state machine that runs pulls. */
  readonly stateMachine?: string;
  /** Name of the event bus. */
  readonly bus?: string;
  /** Name of the function that asks registries for the serving function. */
  readonly fetchFunction?: string;
  /** Name or ARN of the secret that signs passwords; or a file with it, created if missing. */
  readonly signingSecret?: string;
  readonly signingKeyFile?: string;
  /** True if the environment sets an S3 endpoint without a host name per bucket. */
  readonly s3PathStyle?: boolean;
  /** That endpoint, for presigned URLs. */
  readonly s3Endpoint?: string;
  /** The embedded stack's S3. */
  readonly s3?: S3ClientOptions;
  /** A blob whose remaining copy takes longer than this gets a checkpoint. Default 30 s. */
  readonly resumableAboveMs?: number;
  /** The embedded stack's DynamoDB. */
  readonly dynamo?: DynamoConnection;
  /** The embedded stack's Step Functions. */
  readonly sfn?: ServicePlace;
  /** The embedded stack's EventBridge. */
  readonly events?: ServicePlace;
}

/** All services of the functions and the command line, composed once per process. */
export interface Services extends AsyncDisposable {
  readonly config: Config;
  /** The parts of this deployment. */
  readonly deployment: Pick<
    StoreConnection,
    'bucket' | 'table' | 'stateMachine' | 'bus' | 'signingSecret' | 'signingKeyFile'
  >;
  readonly catalog: Catalog;
  readonly store: ContentStore;
  readonly limits: PullLimits;
  readonly pull: PullDeps;
  /** The records of the pulls of workflows. */
  readonly records: PullRecords;
  readonly plans: Plans;
  /** Signs URLs of blobs, with the credentials of the table's client. */
  readonly presigner: Presigner;
  /** Starts pulls in the workflow. Its first use throws ConfigError if no state machine is named. */
  readonly jobs: Jobs;
  /** The executions themselves. Throws like `jobs`. */
  readonly executions: Executions;
  /** Asks registries by another function. Its first use throws ConfigError if no function is named. */
  readonly fetcher: Fetcher;
  /** Shared by all processes on the table. */
  readonly waitingRoom: WaitingRoom;
  /** Locks that last from one task of a workflow to the next. */
  readonly workflowLeases: Leases;
  /** The results of warm-ups. */
  readonly warmupRuns: WarmupRuns;
  /** Sends events to the bus. Its first use throws ConfigError if no bus is named. */
  readonly announcer: Announcer;
  /** Signs passwords. Its first use throws ConfigError if neither a secret nor a file is named. */
  readonly signingKey: SigningKey;
  readonly publishedKey: PublishedKey;
  /** The users with their own passwords, from the section `serve.auth`. */
  readonly users: Users;
  /** The configured platforms of a registry, by its canonical name. */
  readonly defaultPlatforms: (registry: string) => readonly Platform[];
  /** Closes all connections. Idempotent. */
  close(): Promise<void>;
}

/** Longer than the state machine takes from one task to the next, including retries. */
const WORKFLOW_LEASE_MS = 120_000;

/**
 * Composes the services. Sends no request, and loads only DynamoDB's client, which is enough for a hit. Everything else is loaded by its first use.
 */
export function openServices(config: Config, connection: StoreConnection): Services {
  const { table } = connection;
  const { limits, registries } = config;
  const opened = new AsyncDisposableStack();
  const client = dynamoClient(connection.dynamo);
  opened.defer(() => client.destroy());
  const leasesOf = (durationMs: number): Leases => dynamoLeases({ client, table, durationMs });

  const catalog = dynamoCatalog({ client, table });
  // Only what a manifest or a hit needs is loaded at start; records and their schemas with the first pull.
  const records = lazily<PullRecords>(
    async () => {
      const { dynamoPullRecords } = await import('./jobs/dynamo-pull-records.ts');
      return dynamoPullRecords({ client, table });
    },
    {
      join: true,
      find: true,
      findFailed: true,
      begin: true,
      planned: true,
      progressed: true,
      succeed: true,
      fail: true,
    },
  );
  const workflowLeases = leasesOf(WORKFLOW_LEASE_MS);
  const { store, refs, plans } = openBucket(connection, limits, opened);
  const settingsOf = allowRule(registries);
  const defaultPlatforms = (registry: string): readonly Platform[] => registries.get(registry)?.platforms ?? [];

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= opened.disposeAsync());
  return {
    config,
    deployment: connection,
    catalog,
    store,
    limits: limits.pull,
    defaultPlatforms,
    pull: {
      catalog,
      store,
      upstreams: openUpstreams(config, opened),
      defaultPlatforms,
      requireAllowed: (repository) => void settingsOf(repository),
      leases: leasesOf(limits.leaseMs),
      refs,
      limits: limits.pull,
    },
    records,
    plans,
    presigner: presignerOf(config, connection, client),
    workflowLeases,
    ...openWorkflow(connection, { records, leases: workflowLeases }, opened),
    fetcher: openFetcher(connection, opened),
    waitingRoom: openWaitingRoom({ client, table, waiting: config.serve.waiting }),
    warmupRuns: lazily<WarmupRuns>(
      async () => {
        const { dynamoWarmupRuns } = await import('./warmup/dynamo-warmup-runs.ts');
        return dynamoWarmupRuns({ client, table });
      },
      { find: true, begin: true, end: true, announced: true },
    ),
    announcer: openAnnouncer(connection, opened),
    signingKey: openSigningKey(connection),
    publishedKey: openPublishedKey({ client, table }),
    users: openUsers(config),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The stores in the bucket, over one client. */
function openBucket(
  connection: StoreConnection,
  { partBytes, windowParts }: Limits,
  opened: AsyncDisposableStack,
): { readonly store: ContentStore; readonly refs: RefRecords; readonly plans: Plans } {
  const bucket = lazy(
    async () => {
      const { s3Client } = await import('./store/s3-client.ts');
      const forcePathStyle = connection.s3?.endpoint !== undefined || connection.s3PathStyle === true;
      return { client: s3Client({ forcePathStyle, ...connection.s3 }), bucket: connection.bucket };
    },
    ({ client }) => client.destroy(),
  );
  opened.defer(() => bucket.close());
  const refs = lazy(async () => {
    const { s3RefRecords } = await import('./store/s3-refs.ts');
    return s3RefRecords(await bucket.get());
  });
  return {
    store: lazily<ContentStore>(
      async () => {
        const { s3ContentStore } = await import('./store/s3-store.ts');
        const { resumableAboveMs } = connection;
        const resumable = resumableAboveMs === undefined ? {} : { resumableAboveMs };
        return s3ContentStore({ ...(await bucket.get()), partBytes, windowParts, ...resumable });
      },
      { find: true, isContent: true, read: true, put: true, begin: true },
    ),
    refs: {
      ...lazily<Omit<RefRecords, 'list'>>(() => refs.get(), {
        write: true,
        find: true,
        forget: true,
        raiseIncarnation: true,
      }),
      async *list(signal) {
        yield* (await refs.get()).list(signal);
      },
    },
    plans: lazily<Plans>(
      async () => {
        const { s3Plans } = await import('./store/s3-plans.ts');
        return s3Plans(await bucket.get());
      },
      { write: true, read: true },
    ),
  };
}

function openUpstreams({ registries, limits, dockerConfigPath }: Config, opened: AsyncDisposableStack): Upstreams {
  const upstreams = lazy(
    async () => {
      const { createUpstreams } = await import('./registry/client.ts');
      const docker = dockerConfigPath === undefined ? {} : { dockerConfigPath };
      return createUpstreams({ registries, limits: limits.upstream, ...docker });
    },
    (dialled) => dialled.close(),
  );
  opened.defer(() => upstreams.close());
  return {
    open: async (repository, signal) => (await upstreams.get()).open(repository, signal),
    close: () => upstreams.close(),
  };
}

function openWorkflow(
  { stateMachine, sfn }: StoreConnection,
  pulls: { readonly records: PullRecords; readonly leases: Leases },
  opened: AsyncDisposableStack,
): { readonly jobs: Jobs; readonly executions: Executions } {
  const workflow = lazy(
    async () => {
      if (stateMachine === undefined) throw notSet('ENTREPOT_STATE_MACHINE', 'the ARN of the state machine that pulls');
      const { sfnClient } = await import('./jobs/sfn-jobs.ts');
      return { client: sfnClient(sfn), stateMachine };
    },
    ({ client }) => client.destroy(),
  );
  opened.defer(() => workflow.close());
  return {
    jobs: lazily<Jobs>(
      async () => {
        const { sfnJobs } = await import('./jobs/sfn-jobs.ts');
        return sfnJobs({ ...pulls, ...(await workflow.get()) });
      },
      { start: true },
    ),
    executions: lazily<Executions>(
      async () => {
        const { sfnExecutions } = await import('./jobs/sfn-jobs.ts');
        return sfnExecutions(await workflow.get());
      },
      { start: true, look: true, oldestStartMs: true },
    ),
  };
}

function openAnnouncer({ bus, events }: StoreConnection, opened: AsyncDisposableStack): Announcer {
  const announcer = lazy(
    async () => {
      if (bus === undefined) throw notSet('ENTREPOT_BUS', 'the event bus that receives events');
      const { eventsAnnouncer } = await import('./jobs/events-announcer.ts');
      return eventsAnnouncer({ bus, ...(events === undefined ? {} : { client: events }) });
    },
    (client) => client.close(),
  );
  opened.defer(() => announcer.close());
  return lazily<Announcer>(() => announcer.get(), { announce: true });
}
