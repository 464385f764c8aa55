import { checkMayUse } from '../access/access.ts';
import { validate } from '../repair/validate.ts';
import type { ApiCall, Answer, ApiDeps } from './api-call.ts';
import { jsonAnswer } from './http-event.ts';
import { parseValidateBody } from './request.ts';

/** `POST /v1/validate`: what the cache holds of the reference; 200 whether or not it is complete. */
export async function postValidate(deps: ApiDeps, { request, access, signal }: ApiCall): Promise<Answer> {
  const asked = parseValidateBody(request.body());
  checkMayUse(access, asked.reference.repository);
  return jsonAnswer(200, await validate(deps, asked, signal));
}
