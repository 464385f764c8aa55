/** What progresses at this pace is never given up, documents and blobs alike. */
export const LEAST_BYTES_PER_SECOND = 256 * 1024;

/** The least that a blob must come with. A copier holds the blob's claim and a place among the copies, so a slower one has to give both back. */
export interface Pace {
  /** Counted while we wait for the upstream, reconnects included; a slow consumer costs nothing of it. */
  readonly windowMs: number;
  /** Less than this within a window is too slow. */
  readonly leastBytes: number;
}

const PACE_WINDOW_MS = 60_000;

/** What every blob must keep; `patience` is a factor for one that was too slow before, and would else begin anew each time. */
export const paceOf = (patience = 1): Pace => ({
  windowMs: PACE_WINDOW_MS * patience,
  leastBytes: ((PACE_WINDOW_MS * patience) / 1000) * LEAST_BYTES_PER_SECOND,
});

/** How a blob is asked for. */
export interface BlobReading {
  readonly pace?: Pace;
  /** The bytes that came before were wrong: they are asked for once more, of the registry itself, and without a coding that was taken for a label. */
  readonly again?: boolean;
}
