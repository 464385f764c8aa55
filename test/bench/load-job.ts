/** What `load.ts` is to do. */
export interface LoadJob {
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Any other is an error. */
  readonly status: number;
  readonly connections: number;
  readonly forMs: number;
}

/** Times are counted in steps of so many microseconds. */
export const LOAD_STEP_US = 20;

export interface Load {
  readonly requests: number;
  readonly errors: number;
  readonly wallMs: number;
  /** Steps, and how many answers took so many. */
  readonly counts: readonly (readonly [number, number])[];
}
