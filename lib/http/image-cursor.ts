import { InvalidRequestError } from '../errors/cache-error.ts';
import { isDigest } from '../oci/digest.ts';
import type { ImagePosition } from '../images/images.ts';
import { formatRepository, parseReference, parseTag, type Repository } from '../reference/reference.ts';

const KIND = 'images';

/** The position as text for a URL, bound to the list that it was made for. It is no secret, and no right: what it names is checked like any other name. */
export function formatImageCursor(position: ImagePosition, only: Repository | undefined): string {
  const filter = only === undefined ? '' : formatRepository(only);
  const fields = [KIND, filter, formatRepository(position.repository), position.pointer ?? ''];
  return Buffer.from(JSON.stringify(fields)).toString('base64url');
}

/** @throws InvalidRequestError unless the cursor was made for this list. */
export function parseImageCursor(cursor: string, only: Repository | undefined): ImagePosition {
  try {
    const fields: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(fields) && fields.length === 4 && fields.every((field) => typeof field === 'string')) {
      const [kind, filter, name = '', pointer = ''] = fields;
      const repository = parseReference(name).repository;
      const isOurs = kind === KIND && filter === (only === undefined ? '' : formatRepository(only));
      const isWithin = formatRepository(repository) === name && (only === undefined || name === filter);
      if (isOurs && isWithin) return pointer === '' ? { repository } : { repository, pointer: pointerFrom(pointer) };
    }
  } catch (cause) {
    throw refusal(cause);
  }
  throw refusal();
}

const pointerFrom = (text: string): string => (text.startsWith('@') && isDigest(text.slice(1)) ? text : parseTag(text));

const refusal = (cause?: unknown): InvalidRequestError =>
  new InvalidRequestError(
    'next',
    'it is not from a page of this list; give "next" as it was answered, with the same "repository"',
    cause,
  );
