import { randomBytes } from 'node:crypto';
import type { SigningKeys } from '../access/signing-key.ts';
import type { Doorkeeper } from '../access/puller.ts';
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
  readonly config: Pick<Config, 'serve' | 'registries'>;
  readonly pull: Omit<ServeDeps, 'records' | 'presigner' | 'settings' | 'fills'>;
}

/** The distribution API on this machine: one process, one door, whoever reaches it. */
export function localRegistry(
  { config, pull, records, presigner }: LocalServices,
  fills: Fills,
): (asked: ServeCall & { readonly request: RegistryRequest }) => Promise<RegistryAnswer> {
  const api = {
    serving: serving({ ...pull, settings: config.serve, fills, records, presigner }),
    doorkeeper: OPEN,
    registries: config.registries,
    hops: hops(keysOfThisProcess()),
    limits: { bodyBytes: BODY_BYTES },
  };
  return ({ request, ...call }) => answerRegistry(api, request, call);
}

const OPEN: Doorkeeper = {
  challenge: undefined,
  admit: () => Promise.resolve({ name: 'anyone', mayUse: () => true }),
};

function keysOfThisProcess(): SigningKeys {
  const secret = randomBytes(32);
  return { key: () => Promise.resolve(secret) };
}
