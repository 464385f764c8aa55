import { clearScreenDown, cursorTo, moveCursor } from 'node:readline';
import type { Writable } from 'node:stream';
import { hasCursor } from '../config/environment.ts';

/** The current step as lines of at most `columns` characters, at most `rows` of them, the most important one first. */
export type Status = (columns: number, rows: number) => readonly string[];

/** A terminal has a size; a file or a pipe has none. */
export type StatusStream = Writable & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

/** Shows the current step to a user who waits. */
export interface StatusDisplay {
  /** Shows this step from now on, a text with its duration. Undefined shows nothing. */
  show(status: Status | string | undefined): void;
  /** Calls `write`, which writes whole lines to the same terminal, without mixing them with the status. */
  around(write: () => void): void;
}

/** A display that shows nothing. */
export const NO_STATUS: StatusDisplay = { show: () => undefined, around: (write) => write() };

const FRAME_MS = 125;
/** A shorter step is not shown. */
const FIRST_FRAME_MS = 250;
const TICK_MS = 250;
/** A user sees a line at least every two seconds, even on a busy machine. */
const SILENT_MS = 1_500;
/** Size of a terminal that does not report one. */
const USUAL = { columns: 80, rows: 24 };

/**
 * On a terminal the lines are redrawn in place, and erased in the end. Elsewhere, and on a terminal that cannot move its cursor, the first line is written whenever
 * nothing else was written for a second and a half.
 */
export function statusOn(stream: StatusStream, now: () => number = () => performance.now()): StatusDisplay {
  const isLive = stream.isTTY === true && hasCursor();
  let shown: Status | undefined;
  let timer: NodeJS.Timeout | undefined;
  let writtenMs = now();
  let drawn: readonly string[] = [];

  const erase = (): void => {
    if (drawn.length === 0) return;
    const { columns } = sizeOf(stream);
    // If the terminal became narrower, lines are wrapped.
    const rows = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
    drawn = [];
    moveCursor(stream, 0, 1 - rows);
    cursorTo(stream, 0);
    clearScreenDown(stream);
  };
  const draw = (): void => {
    if (shown === undefined || !stream.writable) return;
    const { columns, rows } = sizeOf(stream);
    const lines = shown(columns - 1, rows - 1).slice(0, Math.max(1, rows - 1));
    erase();
    drawn = lines.map((line) => cut(line, columns - 1));
    stream.write(drawn.join('\n'));
  };
  const tick = (): void => {
    // Measured by the clock, because a busy process has fewer ticks.
    if (shown === undefined || now() - writtenMs < SILENT_MS || !stream.writable) return;
    writtenMs = now();
    const [line = ''] = shown(Infinity, 1);
    stream.write(`${line}\n`);
  };

  return {
    show: (status) => {
      if (isLive) erase();
      clearInterval(timer);
      const sinceMs = now();
      shown = typeof status === 'string' ? () => [`${status}, ${secondsOf(now() - sinceMs)}`] : status;
      if (shown === undefined) return;
      timer = isLive
        ? setTimeout(() => {
            draw();
            timer = setInterval(draw, FRAME_MS).unref();
          }, FIRST_FRAME_MS).unref()
        : setInterval(tick, TICK_MS).unref();
    },
    around: (write) => {
      writtenMs = now();
      erase();
      write();
    },
  };
}

const sizeOf = ({ columns = 0, rows = 0 }: StatusStream): typeof USUAL => ({
  columns: columns > 1 ? columns : USUAL.columns,
  rows: rows > 1 ? rows : USUAL.rows,
});

/** `12 s`, `3 min 5 s`. */
export function secondsOf(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** The text, cut to at most `characters`. */
export const cut = (text: string, characters: number): string =>
  text.length <= characters ? text : `${text.slice(0, Math.max(0, characters - 1))}…`.slice(0, characters);
