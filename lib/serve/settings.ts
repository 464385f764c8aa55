import type { InboundAuth } from '../access/principal.ts';

/** How fresh a tag must be that is served, and what is served when that cannot be found out. The first that matches holds. */
export interface FreshnessRule {
  /** Globs over `<registry>/<repository>`. */
  readonly repositories: readonly string[];
  /** Globs over the tag; empty: every tag. */
  readonly tags: readonly string[];
  readonly freshness: Freshness;
}

export interface Freshness {
  /** For so long a tag is served without asking its registry. */
  readonly ttlMs: number;
  /** For so long after the last answer a tag is served although its registry is down, limits us, or does not answer in time. */
  readonly staleIfErrorMs: number;
  /** A tag that its registry has no more is served on. */
  readonly keepOnNotFound: boolean;
  /** For so long after the last answer a tag is served although its registry refuses us. */
  readonly maxStaleOnDeniedMs: number;
  /** For so long "not found" is believed without asking again. */
  readonly notFoundMs: number;
}

/** The section `serve` of the configuration. */
export interface ServeSettings {
  readonly auth: InboundAuth;
  /** The door on AWS. */
  readonly front: 'httpApi' | 'alb';
  /** Scheme, host and port for which URLs of blobs are signed; without it S3's own for the bucket. */
  readonly blobEndpoint?: URL;
  readonly onBlobMiss: 'wait' | 'redirect';
  /** Callers that may wait for blobs at the same time: of one process, on AWS of all together. */
  readonly waiting: number;
  /** How long what a signature or an SBOM refers to is believed to be all there is. */
  readonly referrersTtlMs: number;
  /** In order; the defaults come last, so that one always matches. */
  readonly freshness: readonly FreshnessRule[];
}

/** How long serving waits for what is slow before it does with what it has, in milliseconds. */
export interface ServePatience {
  /** A client that can be served without its registry does not wait longer for it. */
  readonly staleAfterMs: number;
  /** A registry that did not answer within this is slow. */
  readonly slowMs: number;
  /** While somebody else holds the lock of a tag, for a pull of it perhaps, what is known of the tag does after this. */
  readonly lockMs: number;
  /** Whoever looked a tag up lands its manifest before the lock is free. It may have died. */
  readonly storeMs: number;
  /** Who is not sent on within this waits for the rest of its time. The blob may land meanwhile, so it is short. */
  readonly redirectMs: number;
  /** While a few questions about blobs that no manifest names are under way, one more waits so long for its turn. */
  readonly permitMs: number;
  /** What a registry said of a blob that no manifest names is believed for so long. */
  readonly sizeMs: number;
}

export const USUAL_PATIENCE: ServePatience = {
  staleAfterMs: 8_000,
  slowMs: 5_000,
  lockMs: 2_000,
  storeMs: 5_000,
  redirectMs: 4_000,
  permitMs: 5_000,
  sizeMs: 30_000,
};
