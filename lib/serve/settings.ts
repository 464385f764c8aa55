import type { InboundAuth } from '../access/puller.ts';

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
