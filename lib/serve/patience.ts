/** How long serving waits for what is slow before it does with what it has, in milliseconds. */
export interface ServePatience {
  /** A client that can be served without its registry does not wait longer for it. */
  readonly staleAfterMs: number;
  /** A registry that did not answer within this is slow. */
  readonly slowMs: number;
  /** While somebody else holds the lock of a tag, for a pull of it perhaps, what is known of the tag does after this. */
  readonly lockMs: number;
  /** Whoever looked a tag up lands its manifest before the lock is free. It may have died. */
  readonly landingMs: number;
  /** Who is not sent on within this waits for the rest of its time. The blob may land meanwhile, so it is short. */
  readonly locateMs: number;
  /** While a few questions about blobs that no manifest names are under way, one more waits so long for its turn. */
  readonly turnMs: number;
  /** What a registry said of a blob that no manifest names is believed for so long. */
  readonly sizeMs: number;
}

export const USUAL_PATIENCE: ServePatience = {
  staleAfterMs: 8_000,
  slowMs: 5_000,
  lockMs: 2_000,
  landingMs: 5_000,
  locateMs: 4_000,
  turnMs: 5_000,
  sizeMs: 30_000,
};
