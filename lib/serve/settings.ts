import type { InboundAuth } from '../access/principal.ts';

/** How fresh a served tag must be, and what is served when its registry cannot be asked. The first rule that matches applies. */
export interface FreshnessRule {
  /** Globs over `<registry>/<repository>`. */
  readonly repositories: readonly string[];
  /** Globs over the tag; empty: every tag. */
  readonly tags: readonly string[];
  readonly freshness: Freshness;
}

export interface Freshness {
  /** How long a tag is served without asking its registry. */
  readonly ttlMs: number;
  /** How long after the last answer a tag is served while its registry is down, limits us, or does not answer in time. */
  readonly staleIfErrorMs: number;
  /** Whether a tag that its registry no longer has is still served. */
  readonly keepOnNotFound: boolean;
  /** How long after the last answer a tag is served while its registry denies us access. */
  readonly maxStaleOnDeniedMs: number;
  /** How long "not found" is answered without asking again. */
  readonly notFoundMs: number;
}

/** The section `serve` of the configuration. */
export interface ServeSettings {
  readonly auth: InboundAuth;
  /** The transport on AWS. */
  readonly front: 'httpApi' | 'alb';
  /** Scheme, host and port for which URLs of blobs are signed; by default S3's own for the bucket. */
  readonly blobEndpoint?: URL;
  readonly onBlobMiss: 'wait' | 'redirect';
  /** Callers that may wait for blobs at the same time: in one process, on AWS in all processes together. */
  readonly waiting: number;
  /** How long a list of referrers stays fresh. */
  readonly referrersTtlMs: number;
  /** In order. The defaults are last, so that one always matches. */
  readonly freshness: readonly FreshnessRule[];
}

/** How long serving waits, in milliseconds, before it answers with what it has. */
export interface ServePatience {
  /** A client that can be served a stale tag waits no longer for the registry. */
  readonly staleAfterMs: number;
  /** A registry that takes longer is slow. */
  readonly slowMs: number;
  /** While another process holds the lock of a tag, what the cache knows of the tag is served after this. */
  readonly lockMs: number;
  /** The holder of a tag's lock stores its manifest within this; otherwise it may have died. */
  readonly storeMs: number;
  /** Time allowed to learn the redirect; after that the client waits for the blob. */
  readonly redirectMs: number;
  /** How long a question about a blob that no manifest names waits for a permit. */
  readonly permitMs: number;
  /** How long a registry's answer about a blob that no manifest names is kept. */
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
