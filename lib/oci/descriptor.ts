import type { Digest } from './digest.ts';
import type { Platform } from './platform.ts';

/** What is pointed at: https://github.com/opencontainers/image-spec/blob/main/descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. A claim of whoever wrote the parent, checked on every read. */
  readonly size: number;
}

/** An entry of an index. */
export interface IndexEntry extends Descriptor {
  readonly platform?: Platform;
  /** The manifest that this one is the attestation of (`vnd.docker.reference.digest`). */
  readonly attests?: Digest;
  /** Why it cannot be pulled: its descriptor is broken, or it is of a form that nobody can verify. Then it may have a digest of our making. */
  readonly fault?: string;
}
