/** What a client of the distribution API sent, whatever door it came by. */
export interface RegistryRequest {
  readonly method: string;
  /** As it came: nothing of it is decoded. */
  readonly path: string;
  /** Without its "?". */
  readonly query: string;
  /** The value of a header, whatever the case of its name; undefined where it is missing or came twice. */
  header(name: string): string | undefined;
}

/** What is answered. On HEAD, too, with its body: the door drops it, so that the length is right. */
export interface RegistryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
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
