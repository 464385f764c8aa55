import type { Writable } from 'node:stream';
import { CacheError } from '../errors/cache-error.ts';
import { formatReference, parseReference } from '../reference/reference.ts';
import { redacted } from '../telemetry/logger.ts';
import { NO_STATUS, statusOn, type Status, type StatusStream } from './status.ts';

/** Exit codes of every command. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What a failure looks like with `--json`. */
export interface FailureDocument {
  /** As the user wrote it; absent if the failure is not about a reference. */
  readonly reference?: string;
  readonly error: {
    /** A code of the distribution specification, where one fits. */
    readonly code: string | null;
    readonly message: string;
    readonly retryable: boolean;
  };
}

/** The output of a command: results on stdout, everything else on stderr. */
export interface Output {
  readonly isJson: boolean;
  /** One result: `document` as one line of JSON, or `lines` as text. */
  result(document: unknown, lines: readonly string[]): void;
  /** A failure: a JSON document for each reference on stdout, or one message on stderr. */
  failure(error: unknown, references: readonly string[]): void;
  /** On stderr, but not beside JSON. */
  note(line: string): void;
  /** With `--verbose`, on stderr, also beside JSON. */
  detail(line: string): void;
  /** The current step, on stderr, but not beside JSON: see {@link statusOn}. */
  status(status: Status | string | undefined): void;
  /** A line of a log, on stderr, also beside JSON. */
  log(line: string): void;
}

/** What a command writes to, for example the streams of the process. */
export interface Streams {
  readonly stdout: Writable;
  readonly stderr: StatusStream;
}

/** What is written to stderr. */
export interface OutputOptions {
  /** Without notes. */
  readonly isQuiet?: boolean;
  /** With details. */
  readonly isVerbose?: boolean;
}

/** Output on these streams. If the reader closes the pipe (`| head -1`), the rest is dropped without an error. */
export function outputOn(
  { stdout, stderr }: Streams,
  isJson: boolean,
  { isQuiet = false, isVerbose = false }: OutputOptions = {},
): Output {
  const display = isJson || isQuiet ? NO_STATUS : statusOn(stderr);
  const write = (stream: Writable, line: string): void =>
    display.around(() => {
      if (stream.writable) stream.write(`${line}\n`);
    });
  return {
    isJson,
    result: (document, lines) => {
      for (const line of isJson ? [JSON.stringify(document)] : lines) write(stdout, line);
    },
    failure: (error, references) => {
      if (!isJson) for (const line of failureLines(error, references)) write(stderr, line);
      else for (const document of failureDocuments(error, references)) write(stdout, JSON.stringify(document));
    },
    note: (line) => {
      if (!isJson && !isQuiet) write(stderr, line);
    },
    detail: (line) => {
      if (isVerbose) write(stderr, line);
    },
    status: (status) => display.show(status),
    log: (line) => write(stderr, line),
  };
}

/** Keeps the process alive when stdout or stderr is closed. Call it once, at start. */
export function tolerateClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
}

/** The failure as documents: one for each reference, or one without. */
export function failureDocuments(error: unknown, references: readonly string[]): FailureDocument[] {
  const known = error instanceof CacheError ? error : undefined;
  const document = {
    error: { code: known?.code ?? null, message: messageOf(error), retryable: known?.retryable ?? false },
  };
  return references.length === 0 ? [document] : references.map((reference) => ({ reference, ...document }));
}

const MAX_CAUSES = 5;

/** The failure as text: the message, and those of its causes that it does not quote itself. */
export function failureLines(error: unknown, references: readonly string[]): string[] {
  const [reference] = references.length === 1 ? references : [];
  const message = messageOf(error);
  const lines = [
    `entrepot: ${reference === undefined || begins(message, reference) ? '' : `${printable(reference)}: `}${message}`,
  ];
  let cause = error instanceof Error ? error.cause : undefined;
  for (let depth = 0; cause instanceof Error && depth < MAX_CAUSES; depth += 1) {
    // Many messages end with that of their cause already.
    if (cause.message !== '' && !lines.some((line) => line.includes(printable((cause as Error).message)))) {
      lines.push(`  because: ${messageOf(cause)}`);
    }
    cause = cause.cause;
  }
  if (error instanceof CacheError && error.retryable) lines.push('  The same command may succeed later.');
  return lines;
}

/** Whether the message begins with the reference, as the user wrote it or in full. */
function begins(message: string, asked: string): boolean {
  const names = [asked];
  try {
    names.push(formatReference(parseReference(asked)));
  } catch {
    // An invalid reference has no full form.
  }
  return names.some((name) => message.startsWith(`${name} `) || message.startsWith(`${name}:`));
}

function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : String(error);
  // Our own messages hold no secret (I7); those of libraries may.
  return printable(error instanceof CacheError ? message : redacted(message));
}

/** Without control characters, which a registry could use to manipulate the terminal; new lines stay. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '\ufffd');
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `1.2 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit] ?? ''}`;
}

/** `850 ms`, `12.3 s`. */
export function formatDuration(durationMs: number): string {
  return durationMs < 1000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(1)} s`;
}

/** `4 blobs`, `1 blob`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Rows under headings, in columns as wide as they need to be. */
export function tableLines(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
