/** What is listed and shown: requests of the HTTP API, executions of the state machine, runs of warm-ups. */
export type ActivityKind = 'requests' | 'runs' | 'warmups';

/** Fields of an activity, for a log and for JSON. */
export type ActivityFields = Readonly<Record<string, unknown>>;

/** One request or run, as it is listed. */
export interface ActivityRecord extends ActivityFields {
  /** ISO 8601. */
  readonly time: string;
  readonly state: 'running' | 'ended';
  readonly durationMs?: number;
}

/** Activities of the application, for people. */
export interface Activity {
  /** Lists a new activity. Call the returned function once, when it ends. */
  begin(kind: ActivityKind, fields: ActivityFields): (how: ActivityFields) => void;
  /** The last ones, oldest first. */
  recent(kind: ActivityKind): readonly ActivityRecord[];
}

/** A line of what happens. */
export type ActivityLine = (message: string, fields: ActivityFields) => void;

/** Remembered activities of each kind. */
const RECENT = 200;
/** Line at the start; a request is short, and gets a line only at its end. */
const BEGAN: Readonly<Partial<Record<ActivityKind, string>>> = {
  runs: 'workflow run began',
  warmups: 'warm-up began',
};
const ENDED: Readonly<Record<ActivityKind, string>> = {
  requests: 'request',
  runs: 'workflow run ended',
  warmups: 'warm-up ended',
};

/** Remembers the last activities of each kind in memory, and calls `line` for each. */
export function openActivity(line: ActivityLine = () => undefined): Activity {
  const records: Readonly<Record<ActivityKind, ActivityRecord[]>> = { requests: [], runs: [], warmups: [] };
  return {
    begin: (kind, fields) => {
      const list = records[kind];
      const beganMs = performance.now();
      const begun: ActivityRecord = { time: new Date().toISOString(), state: 'running', ...fields };
      list.push(begun);
      if (list.length > RECENT) list.shift();
      const began = BEGAN[kind];
      if (began !== undefined) line(began, fields);
      return (how) => {
        const ended = { ...fields, ...how, durationMs: Math.round(performance.now() - beganMs) };
        const at = list.indexOf(begun);
        if (at >= 0) list[at] = { ...begun, ...ended, state: 'ended' };
        line(ENDED[kind], ended);
      };
    },
    recent: (kind) => records[kind],
  };
}
