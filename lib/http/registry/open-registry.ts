import type { AccessSettings } from '../../access/access.ts';
import { authenticator } from '../../access/authenticator.ts';
import type { PublishedKey } from '../../access/signing-key.ts';
import type { Users } from '../../access/users.ts';
import type { KnownRegistry } from '../../reference/reference.ts';
import { type ServeCall, type ServeDeps, serving } from '../../serve/serving.ts';
import type { ServeSettings } from '../../serve/settings.ts';
import { answerRegistry } from './registry-api.ts';

/** What a client of the distribution API sent, whatever door it came by. */
export interface RegistryRequest {
  readonly method: string;
  /** As it came: nothing of it is decoded. */
  readonly path: string;
  /** Without its "?". */
  readonly query: string;
  /** The value of a header, whatever the case of its name; undefined where it is missing or came twice. */
  header(name: string): string | undefined;
  /** Of whoever opened the connection, as the door saw it: never what a client says of itself. Undefined where the door does not know it. */
  readonly address?: string | undefined;
}

/** What a request meant for the cache, for the log. */
export interface ServedAs {
  /**
   * `hit`: it was there. `miss`: its registry was asked for it, or it is not there yet. `waited`: the request waited for it. `redirected`: the client was sent to
   * where its registry has it.
   */
  readonly cache: 'hit' | 'miss' | 'waited' | 'redirected';
  /** Of the content that the answer holds, describes or leads to, where it is known. */
  readonly bytes?: number;
}

/** What is answered. On HEAD, too, with its body: the door drops it, so that the length is right. */
export interface RegistryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Not sent. */
  readonly servedAs?: ServedAs;
}

/** What a door can carry. */
export interface TransportLimits {
  /** Bytes of a body. Larger manifests go by redirect. */
  readonly bodyBytes: number;
}

/** One request at the door that it came by. */
export interface ReceivedRequest {
  readonly request: RegistryRequest;
  readonly limits: TransportLimits;
}

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

export type OpenRegistry = (door: ReceivedRequest, call: ServeCall) => Promise<RegistryAnswer>;

/** The distribution API for whom `serve.auth` lets in: made once for the life of a process, which remembers what it served. */
export function openRegistry({ config, users, publishedKey, ...deps }: RegistryServices): OpenRegistry {
  const { serve, registries, access } = config;
  const passRedirects = (registry: string): readonly string[] => registries.get(registry)?.passRedirects ?? [];
  const api = {
    serving: serving({ ...deps, settings: serve, passRedirects }),
    authenticator: authenticator({ auth: serve.auth, rules: access.rules, users, publishedKey }),
    registries,
  };
  return (door, call) => answerRegistry(api, door, call);
}
