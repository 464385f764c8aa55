import type { Jobs } from '../jobs/jobs.ts';
import { openRegistry, type RegistryAnswer, type RegistryRequest } from '../http/registry/open-registry.ts';
import { type ServePatience, USUAL_PATIENCE } from '../serve/settings.ts';
import type { ServeCall } from '../serve/serving.ts';
import { upstreamLanding } from '../serve/upstream-fetcher.ts';
import { processWaitingRoom } from '../serve/waiting-room.ts';
import type { Services } from '../services.ts';

/** A door that streams carries whatever the cache takes as a manifest. */
const LIMITS = { bodyBytes: 32 * 1024 * 1024 };

/** What serving on this machine needs of the services. */
type LocalServices = Pick<Services, 'config' | 'pull' | 'records' | 'presigner' | 'users' | 'publishedKey'>;

/** The distribution API on this machine: one process, one door, for whom `serve.auth` lets in. Asks the registries itself. */
export function localRegistry(
  { config, pull, records, presigner, users, publishedKey }: LocalServices,
  jobs: Jobs,
  patience: ServePatience = USUAL_PATIENCE,
): (asked: ServeCall & { readonly request: RegistryRequest }) => Promise<RegistryAnswer> {
  const answer = openRegistry({
    ...pull,
    config,
    landing: upstreamLanding(pull),
    waitingRoom: processWaitingRoom(config.serve.waiting),
    jobs,
    records,
    presigner,
    patience,
    users,
    publishedKey,
  });
  return ({ request, ...call }) => answer({ request, limits: LIMITS }, call);
}
