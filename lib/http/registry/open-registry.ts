import { doorkeeper } from '../../access/authenticator.ts';
import type { AccessSettings } from '../../access/access.ts';
import type { PublishedKey } from '../../access/signing-key.ts';
import type { Users } from '../../access/users.ts';
import { type ServeCall, type ServeDeps, serving } from '../../serve/serving.ts';
import type { ServeSettings } from '../../serve/settings.ts';
import { answerRegistry } from './registry-api.ts';
import type { RegistryAnswer, RegistryDoor } from './registry-door.ts';
import type { KnownRegistry } from '../../reference/reference.ts';

/** What the distribution API is made of, whatever door is before it. */
export interface RegistryServices extends Omit<ServeDeps, 'settings' | 'passRedirects'> {
  readonly config: {
    readonly serve: ServeSettings;
    readonly registries: ReadonlyMap<string, KnownRegistry & { readonly passRedirects: readonly string[] }>;
    readonly access: Pick<AccessSettings, 'rules'>;
  };
  readonly users: Users;
  /** Of the passwords that `POST /v1/token` mints. */
  readonly publishedKey: Pick<PublishedKey, 'find'>;
}

export type OpenRegistry = (door: RegistryDoor, call: ServeCall) => Promise<RegistryAnswer>;

/** The distribution API for whom `serve.auth` lets in: made once for the life of a process, which remembers what it served. */
export function openRegistry({ config, users, publishedKey, ...deps }: RegistryServices): OpenRegistry {
  const { serve, registries, access } = config;
  const passRedirects = (registry: string): readonly string[] => registries.get(registry)?.passRedirects ?? [];
  const api = {
    serving: serving({ ...deps, settings: serve, passRedirects }),
    doorkeeper: doorkeeper({ auth: serve.auth, rules: access.rules, users, publishedKey }),
    registries,
  };
  return (door, call) => answerRegistry(api, door, call);
}
