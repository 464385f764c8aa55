import { S3Client } from '@aws-sdk/client-s3';
import { loadConfig } from '../../lib/config/config.ts';
import { parsePlatform } from '../../lib/oci/platform.ts';
import { pull } from '../../lib/pull/pull.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { openServices, type Services } from '../../lib/services.ts';
import { validate, type Validation } from '../../lib/repair/validate.ts';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { startStack, type TestStack } from './stack.ts';

export interface CacheOptions {
  /** The `registries` of the YAML configuration. */
  readonly registries: Record<string, unknown>;
  /** The `limits`; leases are two seconds long unless this says otherwise. */
  readonly limits?: Record<string, unknown>;
  /** The section `serve`. */
  readonly serve?: Record<string, unknown>;
  /** Endpoints in place of the stack's own (fault proxies). */
  readonly s3Endpoint?: string;
  readonly dynamoEndpoint?: string;
  /** A blob whose rest takes longer than this can be resumed. */
  readonly resumableAboveMs?: number;
  /** Replaces real services of the cache. */
  readonly change?: (services: Services) => Services;
}

export interface PullOptions {
  readonly platforms?: readonly string[];
  readonly alwaysPull?: boolean;
  readonly attestations?: boolean;
  readonly deadline?: AbortSignal;
}

/** A cache on a test stack: the real services, composed from a real configuration file. */
export interface TestCache extends AsyncDisposable {
  readonly services: Services;
  /** For child processes: the variables of the SDK and of Entrepot. */
  readonly environment: Readonly<Record<string, string>>;
  pull(reference: string, options?: PullOptions): Promise<Receipt>;
  validate(
    reference: string,
    options?: { platforms?: readonly string[]; attestations?: boolean; deep?: boolean; bytes?: boolean },
  ): Promise<Validation>;
}

export async function openCache(stack: TestStack, options: CacheOptions): Promise<TestCache> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-config-'));
  const file = join(folder, 'entrepot.yaml');
  const limits = { leaseSeconds: 2, ...options.limits };
  await writeFile(file, stringify({ registries: options.registries, limits, serve: options.serve ?? {} }));
  const s3Endpoint = options.s3Endpoint ?? stack.s3Endpoint;
  const dynamoEndpoint = options.dynamoEndpoint ?? stack.dynamoEndpoint;
  const environment = {
    ...stack.environment,
    AWS_ENDPOINT_URL_S3: s3Endpoint,
    AWS_ENDPOINT_URL_DYNAMODB: dynamoEndpoint,
    ENTREPOT_CONFIG: file,
    DOCKER_CONFIG: folder,
  };
  const { bucket, table, region, credentials } = stack;
  const opened = openServices(loadConfig(environment, folder), {
    bucket,
    table,
    signingKeyFile: stack.signingKeyFile,
    s3: { endpoint: s3Endpoint, region, credentials },
    dynamo: { endpoint: dynamoEndpoint, region, credentials },
    ...(options.resumableAboveMs === undefined ? {} : { resumableAboveMs: options.resumableAboveMs }),
  });
  const services = options.change?.(opened) ?? opened;
  const forever = new AbortController().signal;
  return {
    services,
    environment,
    pull: (reference, { platforms = [], alwaysPull = false, attestations = true, deadline = forever } = {}) =>
      pull(
        services.pull,
        {
          reference: parseReference(reference),
          platforms: platforms.map((text) => parsePlatform(text)),
          alwaysPull,
          attestations,
        },
        deadline,
      ),
    validate: (reference, { platforms = [], attestations = true, deep = false, bytes = false } = {}) =>
      validate(
        services.pull,
        {
          reference: parseReference(reference),
          platforms: platforms.map((text) => parsePlatform(text)),
          attestations,
          deep,
          bytes,
        },
        forever,
      ),
    async [Symbol.asyncDispose]() {
      await opened.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A client that reads and changes objects without the cache. */
export const rawS3 = (stack: TestStack): S3Client => new S3Client({ ...stack.s3Config, forcePathStyle: true });

export { startStack, type TestStack };

/** A stack and the resources of a test on it. Disposing ends them all, also after a failed set-up. */
export interface Bench extends AsyncDisposable {
  readonly stack: TestStack;
  /** Keeps `resource` until the bench ends. */
  use<T extends AsyncDisposable>(resource: T | Promise<T>): Promise<T>;
}

export async function startBench(): Promise<Bench> {
  const resources = new AsyncDisposableStack();
  const stack = await startStack();
  resources.defer(() => stack.close());
  return {
    stack,
    async use(resource) {
      return resources.use(await resource);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
