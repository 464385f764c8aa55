import { checkMayUse } from '../../access/access.ts';
import { InvalidRequestError } from '../../errors/cache-error.ts';
import { cachedImage, imagePage, type ImagePosition } from '../../images/images.ts';
import { removeTag } from '../../images/remove-tag.ts';
import { isDigest } from '../../oci/digest.ts';
import {
  formatReference,
  formatRepository,
  parseReference,
  parseTag,
  type Reference,
  type Repository,
} from '../../reference/reference.ts';
import { validate } from '../../repair/validate.ts';
import { jsonAnswer } from '../http-event.ts';
import { HttpError } from '../problem.ts';
import type { DocumentOf, imagesSchema } from './answer-schemas.ts';
import type { Answer, ApiCall, ApiDeps } from './control-api.ts';
import { parseImageQuery, parseImagesQuery, parseValidateBody } from './requests.ts';

const KIND = 'images';

/** The position as text for a URL, bound to its list. It is not a secret and grants nothing: its names are checked like any others. */
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
    'it is not from a page of this list; send "next" of the previous page, with the same "repository"',
    cause,
  );

/** A page of `GET /v1/images`. */
export type ImagesDocument = DocumentOf<typeof imagesSchema>;

/** `GET /v1/images`: one image by `reference`, or a page of those that the caller may use. */
export async function listImages(deps: ApiDeps, { request, access, signal }: ApiCall): Promise<Answer> {
  const query = request.query();
  if ('reference' in query) {
    const reference = parseImageQuery(query);
    checkMayUse(access, reference.repository);
    const image = cachedImage({ pointer: { generation: 0 }, reference, ...(await find(deps, reference, signal)) });
    if (image === undefined) throw notCached(reference);
    return jsonAnswer(200, image);
  }
  const { repository, limit, next: cursor } = parseImagesQuery(query);
  if (repository !== undefined) checkMayUse(access, repository);
  const after = cursor === undefined ? undefined : parseImageCursor(cursor, repository);
  const mayList = access.mayUse.bind(access);
  const { images, next } = await imagePage(deps.catalog, { repository, after, limit, mayList }, signal);
  const page: ImagesDocument = { images, next: next === undefined ? null : formatImageCursor(next, repository) };
  return jsonAnswer(200, page);
}

const find = (deps: ApiDeps, reference: Reference, signal: AbortSignal) =>
  deps.catalog.find(reference, { consistent: true, signal });

/** `DELETE /v1/images?reference=…`: 204 when the tag is gone; the content stays. */
export async function deleteImage(deps: ApiDeps, { request, access, signal }: ApiCall): Promise<Answer> {
  const reference = parseImageQuery(request.query());
  checkMayUse(access, reference.repository);
  if (!(await removeTag(deps, reference, signal))) throw notCached(reference);
  return { statusCode: 204, headers: { 'cache-control': 'no-store' } };
}

const notCached = (reference: Reference): HttpError =>
  new HttpError(404, `${formatReference(reference)} is not in the cache; pull it with POST /v1/pull`, {
    code: 'MANIFEST_UNKNOWN',
  });

/** `POST /v1/validate`: what the cache holds of the reference; 200 whether or not it is complete. */
export async function postValidate(deps: ApiDeps, { request, access, signal }: ApiCall): Promise<Answer> {
  const asked = parseValidateBody(request.body());
  checkMayUse(access, asked.reference.repository);
  return jsonAnswer(200, await validate(deps, asked, signal));
}
