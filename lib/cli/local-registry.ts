import { randomBytes } from 'node:crypto';
import type { SigningKeys } from '../access/signing-key.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { openRegistry } from '../http/registry/open-registry.ts';
import type { RegistryAnswer, RegistryRequest } from '../http/registry/registry-door.ts';
import { USUAL_PATIENCE, type ServePatience } from '../serve/patience.ts';
import type { ServeCall } from '../serve/serve-deps.ts';
import { upstreamLanding } from '../serve/upstream-landing.ts';
import { processWaitingRoom } from '../serve/waiting-room.ts';
import type { Services } from '../services.ts';

/** A door that streams carries whatever the cache takes as a manifest. */
const LIMITS = { bodyBytes: 32 * 1024 * 1024 };

/** What serving on this machine needs of the services. */
type LocalServices = Pick<Services, 'config' | 'pull' | 'records' | 'presigner' | 'deployment' | 'users' | 'keys'>;

/** The distribution API on this machine: one process, one door, for whom `serve.auth` lets in. Asks the registries itself. */
export function localRegistry(
  { config, pull, records, presigner, deployment, users, keys }: LocalServices,
  jobs: Jobs,
  patience: ServePatience = USUAL_PATIENCE,
): (asked: ServeCall & { readonly request: RegistryRequest }) => Promise<RegistryAnswer> {
  const isNamed = deployment.signingSecret !== undefined || deployment.signingKeyFile !== undefined;
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
    keys: isNamed ? keys : keysOfThisProcess(),
  });
  return ({ request, ...call }) => answer({ request, limits: LIMITS }, call);
}

/** For a cache that names no secret of its own: what is signed need not outlive this process. */
function keysOfThisProcess(): SigningKeys {
  const secret = randomBytes(32);
  return { key: () => Promise.resolve(secret) };
}
