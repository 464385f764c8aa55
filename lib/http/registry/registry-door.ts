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
export interface DoorLimits {
  /** Bytes of a body. Larger manifests go by redirect. */
  readonly bodyBytes: number;
}

/** One request at the door that it came by. */
export interface RegistryDoor {
  readonly request: RegistryRequest;
  readonly limits: DoorLimits;
}
