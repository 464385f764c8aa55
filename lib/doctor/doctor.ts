import type { SdkEndpoints } from '../config/environment.ts';
import { ConfigError } from '../errors/cache-error.ts';
import type { Finding } from './check.ts';
import { CHECK_GROUPS } from './checks.ts';
import type { CheckGroup } from './examine.ts';
import { requestsIn, sdkRegion } from './sigv4-requests.ts';
import { isLoopback, parseApiUrl, parseRegistryUrl, readDeployment, regionOf } from './target.ts';

export interface Examination {
  /** Of the control API, with or without `/v1`. */
  readonly url: string;
  /** An image that may be pulled: with it pulls are tried end to end. */
  readonly image?: string;
  /** Of the registry endpoint, if it is not where the control API is. */
  readonly registryUrl?: string;
  /** A bearer token, for an API that takes JWTs. */
  readonly token?: string;
  /** Where the SDK's own variables lead its clients instead of to AWS. */
  readonly endpoints: SdkEndpoints;
}

/**
 * Looks at a deployment, from anywhere, with the credentials that the AWS SDK finds: one finding for each AWS behaviour that the code relies on
 * (docs/aws-assumptions.md). Leaves nothing behind.
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
  const isLocal = isLoopback(url);
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

/** What is written and deleted must be where the API is: never in an account when a local stack is meant, and never the other way round. */
function checkEndpoints(isLocal: boolean, endpoints: SdkEndpoints): void {
  const all = Object.values<URL | undefined>(endpoints);
  const here = all.filter((endpoint) => endpoint !== undefined && isLoopback(endpoint));
  if (isLocal && here.length < all.length) {
    throw new ConfigError(
      'the API is on this machine, and the AWS SDK would ask elsewhere; set the variables that `entrepot local --all` prints',
    );
  }
  if (!isLocal && here.length > 0) {
    throw new ConfigError(
      `the API is not on this machine, and AWS_ENDPOINT_URL… leads the AWS SDK to ${here[0]?.origin ?? ''}; unset these variables`,
    );
  }
}
