import type { AccessSettings } from '../../access/access.ts';
import { authenticator } from '../../access/authenticator.ts';
import type { PublishedKey } from '../../access/signing-key.ts';
import type { Users } from '../../access/users.ts';
import type { KnownRegistry } from '../../reference/reference.ts';
import { type ServeCall, type ServeDeps, serving } from '../../serve/serving.ts';
import type { ServeSettings } from '../../serve/settings.ts';
import { answerRegistry } from './registry-api.ts';

/** A request of the distribution API, by any transport. */
export interface RegistryRequest {
  readonly method: string;
  /** As it was received, not decoded. */
  readonly path: string;
  /** Without the "?". */
  readonly query: string;
  /** The value of a header, whatever the case of its name; undefined where it is missing or was given twice. */
  header(name: string): string | undefined;
  /** The peer of the connection, as the transport saw it, never what a client declares. Undefined where the transport does not know it. */
  readonly address?: string | undefined;
}

/** How the cache served a request, for the log. */
export interface ServedAs {
  /**
   * `hit`: it was in the cache. `miss`: its registry was asked, or it is not there yet. `waited`: the request waited for it. `redirected`: the client was
   * redirected to where its registry has it.
   */
  readonly cache: 'hit' | 'miss' | 'waited' | 'redirected';
  /** Size of the content that the answer holds, describes or redirects to, where it is known. */
  readonly bytes?: number;
}

/** An answer. On HEAD it has its body, too: the transport drops it, so that the length is right. */
export interface RegistryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Not sent. */
  readonly servedAs?: ServedAs;
}

/** What a transport can carry. */
export interface TransportLimits {
  /** Bytes of a body. Larger manifests go by redirect. */
  readonly bodyBytes: number;
}

/** A request, and the limits of its transport. */
export interface ReceivedRequest {
  readonly request: RegistryRequest;
  readonly limits: TransportLimits;
}

/** What the distribution API works with, whatever its transport. */
export interface RegistryServices extends Omit<ServeDeps, 'settings' | 'passRedirects'> {
  readonly config: {
    readonly serve: ServeSettings;
    readonly registries: ReadonlyMap<string, KnownRegistry & { readonly passRedirects: readonly string[] }>;
    readonly access: Pick<AccessSettings, 'rules'>;
  };
  readonly users: Users;
  /** Verifies the passwords that `POST /v1/token` mints. */
  readonly publishedKey: Pick<PublishedKey, 'find'>;
}

export type OpenRegistry = (received: ReceivedRequest, call: ServeCall) => Promise<RegistryAnswer>;

/** The distribution API for clients that `serve.auth` admits. Opened once in a process, which remembers what it served. */
export function openRegistry({ config, users, publishedKey, ...deps }: RegistryServices): OpenRegistry {
  const { serve, registries, access } = config;
  const passRedirects = (registry: string): readonly string[] => registries.get(registry)?.passRedirects ?? [];
  const api = {
    serving: serving({ ...deps, settings: serve, passRedirects }),
    authenticator: authenticator({ auth: serve.auth, rules: access.rules, users, publishedKey }),
    registries,
  };
  return (received, call) => answerRegistry(api, received, call);
}
