import type { Catalog } from '../catalog/catalog.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { PullRecords } from '../jobs/pull-record.ts';
import type { PullDeps } from '../pull/pull-request.ts';
import type { ContentStore, Presigner } from '../store/content-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import type { Landing } from './landing.ts';
import type { ServePatience } from './patience.ts';
import type { ServeSettings } from './settings.ts';
import type { WaitingRoom } from './waiting-room.ts';

/** What serving works with. What a hit does not need is loaded by its first use. */
export interface ServeDeps extends Pick<PullDeps, 'leases' | 'limits' | 'defaultPlatforms' | 'requireAllowed'> {
  /** Reads alone: what serving has to write there goes through `landing`. */
  readonly catalog: Pick<
    Catalog,
    | 'findPointer'
    | 'findContent'
    | 'findBlobs'
    | 'findLinks'
    | 'findNeededBy'
    | 'findRoot'
    | 'tagsOf'
    | 'findTagsWith'
    | 'repositories'
    | 'imagesOf'
  >;
  readonly store: Pick<ContentStore, 'find' | 'read'>;
  readonly landing: Landing;
  readonly waitingRoom: WaitingRoom;
  readonly settings: Omit<ServeSettings, 'auth' | 'front'>;
  readonly jobs: Jobs;
  readonly records: Pick<PullRecords, 'find' | 'findFailed'>;
  readonly presigner: Presigner;
  /** Hosts that clients may be sent to for blobs of a registry, by its canonical name. */
  readonly passRedirects: (registry: string) => readonly string[];
  /** The usual one where this does not say it. */
  readonly patience?: ServePatience;
}

/** One request of a client, from its arrival to its answer. */
export interface ServeCall {
  /** Aborts with a DeadlineError while there is still time to answer. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly metrics: Metrics;
}
