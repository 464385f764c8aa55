import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** A file that is missing or cannot be read. `absent` is true only for ENOENT. */
export class UnreadableFileError extends Error {
  readonly absent: boolean;

  constructor(message: string, absent: boolean, cause?: unknown) {
    super(message, { cause });
    this.absent = absent;
  }
}

/**
 * The text of a regular file of at most `maxBytes`, in UTF-8.
 *
 * @throws UnreadableFileError with the reason, without the path.
 */
export function readTextFile(path: string, maxBytes: number): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    const absent = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    throw new UnreadableFileError(
      absent ? 'there is no such file' : `cannot be opened (${codeOf(cause)})`,
      absent,
      cause,
    );
  }
  try {
    if (!fstatSync(file).isFile()) throw new UnreadableFileError('is not a regular file', false);
    const bytes = readUpTo(file, maxBytes + 1);
    if (bytes.length > maxBytes) throw new UnreadableFileError(`is larger than ${maxBytes} bytes`, false);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof UnreadableFileError) throw cause;
    if (cause instanceof TypeError) throw new UnreadableFileError('is not text in UTF-8', false, cause);
    throw new UnreadableFileError(`cannot be read (${codeOf(cause)})`, false, cause);
  } finally {
    closeSync(file);
  }
}

/** One call of read may return fewer bytes than requested. */
function readUpTo(file: number, maxBytes: number): Uint8Array {
  const buffer = Buffer.alloc(Math.min(maxBytes, fstatSync(file).size + 1));
  let length = 0;
  while (length < buffer.length) {
    const read = readSync(file, buffer, length, buffer.length - length, null);
    if (read === 0) break;
    length += read;
  }
  return buffer.subarray(0, length);
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : 'unknown error';
