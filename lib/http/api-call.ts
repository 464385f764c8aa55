import type { APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import type { Access, AccessSettings, Caller } from '../access/access.ts';
import type { MintingKeys } from '../access/minted.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { PullRecords } from '../jobs/pull-record.ts';
import type { PullDeps } from '../pull/pull-request.ts';
import type { ServeSettings } from '../serve/settings.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import type { HttpRequest } from './http-event.ts';

export type Answer = APIGatewayProxyStructuredResultV2;

/** What the control API works with. What a hit does not need is loaded by its first use. */
export interface ApiDeps extends Omit<PullDeps, 'upstreams' | 'progress'> {
  readonly access: AccessSettings;
  /** Where this deployment keeps things, as it was told at its start. */
  readonly deployment: {
    readonly bucket: string;
    readonly table: string;
    readonly stateMachine?: string;
    readonly bus?: string;
  };
  /** How this deployment serves, as it was configured. */
  readonly serve: Pick<ServeSettings, 'front' | 'auth' | 'blobEndpoint'>;
  readonly records: PullRecords;
  readonly jobs: Jobs;
  /** Undefined where the deployment has no secret to sign with. */
  readonly keys?: MintingKeys | undefined;
}

/** One request of a caller that is known. */
export interface ApiCall {
  readonly request: HttpRequest;
  /** What stands for `{id}` in the path: not yet known to be one. */
  readonly id: string;
  readonly caller: Caller;
  readonly access: Access;
  readonly requestId: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Aborts with a DeadlineError while there is still time to answer. */
  readonly signal: AbortSignal;
}

/** What answers one route. Whatever it throws becomes problem details. */
export type Operate = (deps: ApiDeps, call: ApiCall) => Promise<Answer>;
