import { checkMayUse } from '../access/access.ts';
import { cachedImage, imagePage } from '../images/images.ts';
import { removeTag } from '../images/remove-tag.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import type { ApiCall, Answer, ApiDeps } from './api-call.ts';
import { HttpError } from './http-error.ts';
import { jsonAnswer } from './http-event.ts';
import { formatImageCursor, parseImageCursor } from './image-cursor.ts';
import { parseImageQuery, parseImagesQuery } from './request.ts';
import type { DocumentOf, imagesSchema } from './answer-schemas.ts';

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
