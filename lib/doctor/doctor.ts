import type { SdkEndpoints } from '../config/environment.ts';
import { ConfigError } from '../errors/cache-error.ts';
import { API_CHECKS, openApiFixture } from './api-checks.ts';
import { checkGroup, type CheckGroup, type Finding } from './check.ts';
import { DYNAMO_ROW_CHECKS } from './dynamo-row-checks.ts';
import { DYNAMO_TABLE_CHECKS, openDynamoFixture } from './dynamo-table-checks.ts';
import { EVENTS_CHECKS, openEventsFixture } from './events-checks.ts';
import { openPlatformFixture, PLATFORM_CHECKS } from './platform-checks.ts';
import { openPullFixture, PULL_CHECKS } from './pull-checks.ts';
import { REGISTRY_CHECKS } from './registry-checks.ts';
import { REGISTRY_CONTENT_CHECKS } from './registry-content-checks.ts';
import { openRegistryFixture } from './registry-fixture.ts';
import { S3_BUCKET_CHECKS } from './s3-bucket-checks.ts';
import { openS3Fixture } from './s3-fixture.ts';
import { S3_OBJECT_CHECKS } from './s3-object-checks.ts';
import { S3_UPLOAD_CHECKS } from './s3-upload-checks.ts';
import { openSfnFixture, SFN_CHECKS } from './sfn-checks.ts';
import { requestsIn, sdkRegion } from './sigv4-requests.ts';
import { isLoopbackUrl, parseApiUrl, parseRegistryUrl, readDeployment, regionOf } from './target.ts';

/**
 * Every check, in the order of the report. Pulls come first, because the checks of the registry endpoint need a complete image,
 * and those of the workflow an execution that has ended.
 */
export const CHECK_GROUPS: readonly CheckGroup[] = [
  checkGroup('api', API_CHECKS, openApiFixture),
  checkGroup('pull', PULL_CHECKS, openPullFixture),
  checkGroup('registry', [...REGISTRY_CHECKS, ...REGISTRY_CONTENT_CHECKS], openRegistryFixture),
  checkGroup('s3', [...S3_OBJECT_CHECKS, ...S3_UPLOAD_CHECKS, ...S3_BUCKET_CHECKS], openS3Fixture),
  checkGroup('dynamo', [...DYNAMO_ROW_CHECKS, ...DYNAMO_TABLE_CHECKS], openDynamoFixture),
  checkGroup('sfn', SFN_CHECKS, openSfnFixture),
  checkGroup('events', EVENTS_CHECKS, openEventsFixture),
  checkGroup('platform', PLATFORM_CHECKS, openPlatformFixture),
];

export interface Examination {
  /** Of the control API, with or without `/v1`. */
  readonly url: string;
  /** An image to pull, end to end. Without it, checks that need one are skipped. */
  readonly image?: string;
  /** Of the registry endpoint, if it is not where the control API is. */
  readonly registryUrl?: string;
  /** A bearer token, for an API that takes JWTs. */
  readonly token?: string;
  /** Endpoints that the SDK's own variables set instead of those of AWS. */
  readonly endpoints: SdkEndpoints;
}

/**
 * Checks a deployment with the credentials that the AWS SDK finds: one finding for each AWS behaviour that the code relies on
 * (docs/aws-assumptions.md). Removes everything that it writes.
 *
 * @throws InvalidRequestError, ConfigError before the first finding; the reason of the signal.
 */
export async function* examineDeployment(
  asked: Examination,
  signal: AbortSignal,
  groups: readonly CheckGroup[] = CHECK_GROUPS,
): AsyncGenerator<Finding> {
  const url = parseApiUrl(asked.url);
  const registry = asked.registryUrl === undefined ? undefined : parseRegistryUrl(asked.registryUrl);
  const isLocal = isLoopbackUrl(url);
  checkEndpoints(isLocal, asked.endpoints);
  const { image, token } = asked;
  const region = regionOf(url) ?? (await sdkRegion());
  const reached = {
    url: url.href.replace(/\/$/, ''),
    isLocal,
    region,
    requests: requestsIn(region),
    ...(token === undefined ? {} : { token }),
    ...(image === undefined ? {} : { image }),
    ...(registry === undefined ? {} : { registryUrl: registry.origin }),
  };
  const deployment = await readDeployment(reached, signal);
  const target = { ...reached, deployment };
  for (const group of groups) yield* group.examine(target, signal);
}

/** The checks write and delete, so the SDK and the API must be at the same place: both local, or both on AWS. */
function checkEndpoints(isLocal: boolean, endpoints: SdkEndpoints): void {
  const all = Object.values<URL | undefined>(endpoints);
  const here = all.filter((endpoint) => endpoint !== undefined && isLoopbackUrl(endpoint));
  if (isLocal && here.length < all.length) {
    throw new ConfigError(
      'the API is on this machine, but the AWS SDK would call AWS; set the variables that `entrepot local --all` prints',
    );
  }
  if (!isLocal && here.length > 0) {
    throw new ConfigError(
      `the API is not on this machine, but AWS_ENDPOINT_URL… sends the AWS SDK to ${here[0]?.origin ?? ''}; unset these variables`,
    );
  }
}
