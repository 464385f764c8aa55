import { randomBytes } from 'node:crypto';
import type { SigningKeys } from '../access/signing-key.ts';
import { doorkeeper } from '../access/doorkeeper.ts';
import type { Users } from '../access/users.ts';
import type { Config } from '../config/config.ts';
import type { Fills } from '../fill/fills.ts';
import type { ServeCall, ServeDeps } from '../serve/serve-deps.ts';
import { serving } from '../serve/serving.ts';
import { hops } from '../http/registry/hops.ts';
import { answerRegistry } from '../http/registry/registry-api.ts';
import type { RegistryAnswer, RegistryRequest } from '../http/registry/registry-door.ts';

/** A door that streams carries whatever the cache takes as a manifest. */
const BODY_BYTES = 32 * 1024 * 1024;

/** What serving on this machine needs of the services. */
interface LocalServices extends Pick<ServeDeps, 'catalog' | 'records' | 'presigner'> {
  readonly config: Pick<Config, 'serve' | 'registries' | 'access'>;
  readonly deployment: { readonly signingSecret?: string; readonly signingKeyFile?: string };
  readonly users: Users;
  readonly keys: SigningKeys;
  readonly pull: Omit<ServeDeps, 'records' | 'presigner' | 'settings' | 'fills'>;
}

/** The distribution API on this machine: one process, one door, for whom `serve.auth` lets in. */
export function localRegistry(
  { config, pull, records, presigner, deployment, users, keys }: LocalServices,
  fills: Fills,
): (asked: ServeCall & { readonly request: RegistryRequest }) => Promise<RegistryAnswer> {
  const isNamed = deployment.signingSecret !== undefined || deployment.signingKeyFile !== undefined;
  const signing = isNamed ? keys : keysOfThisProcess();
  const api = {
    serving: serving({ ...pull, settings: config.serve, fills, records, presigner }),
    doorkeeper: doorkeeper({ auth: config.serve.auth, rules: config.access.rules, users, keys: signing }),
    registries: config.registries,
    hops: hops(signing),
    limits: { bodyBytes: BODY_BYTES },
  };
  return ({ request, ...call }) => answerRegistry(api, request, call);
}

/** For a cache that names no secret of its own: what is signed need not outlive this process. */
function keysOfThisProcess(): SigningKeys {
  const secret = randomBytes(32);
  return { key: () => Promise.resolve(secret) };
}
