import type { ApiCall, Answer, ApiDeps } from './api-call.ts';
import { HttpError } from './http-error.ts';
import { jsonAnswer } from './http-event.ts';
import { pullDocument } from './pull-document.ts';

/** An id as we give them: what is none is not looked up. */
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** `GET /v1/pulls/{id}`. A pull of a repository that the caller may not use is as unknown as one that never was. */
export async function findPull(deps: ApiDeps, { id, access, logger, signal }: ApiCall): Promise<Answer> {
  const record = UUID.test(id) ? await deps.records.find(id, signal) : undefined;
  if (record === undefined || !access.mayUse(record.request.reference.repository)) {
    throw new HttpError(404, 'there is no pull of this id; pulls are forgotten some days after they ended');
  }
  logger.keep({ pullId: record.id });
  return jsonAnswer(200, pullDocument(record, Date.now()));
}
