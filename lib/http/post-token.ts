import type { AccessSettings, Caller } from '../access/access.ts';
import { valuesOfClaim } from '../access/principal.ts';
import { mintPassword, type MintedCaller } from '../access/minted.ts';
import { TOKEN_USER } from '../access/users.ts';
import type { Answer, ApiCall, ApiDeps } from './api-call.ts';
import { HttpError } from './http-error.ts';
import { jsonAnswer } from './http-event.ts';
import { parseTokenBody } from './request.ts';
import type { DocumentOf, tokenSchema } from './answer-schemas.ts';

/** What a client logs in to the registry endpoint with. */
export type TokenDocument = DocumentOf<typeof tokenSchema>;

/** `POST /v1/token`: a password for the registry endpoint, for whoever calls, and for an hour at most. It may use there what the caller may use here. */
export async function postToken({ access, keys }: ApiDeps, { request, caller, signal }: ApiCall): Promise<Answer> {
  if (keys === undefined) {
    throw new HttpError(
      404,
      'this deployment has no secret to sign passwords with; name one of Secrets Manager by ENTREPOT_SIGNING_SECRET',
    );
  }
  const { lifetimeSeconds } = parseTokenBody(request.hasBody ? request.body() : {});
  const { password, expiresAtMs } = await mintPassword(keys, mintedCaller(access, caller), lifetimeSeconds, { signal });
  const document: TokenDocument = { username: TOKEN_USER, password, expiresAt: new Date(expiresAtMs).toISOString() };
  return jsonAnswer(200, document);
}

function mintedCaller({ jwt }: AccessSettings, caller: Caller): MintedCaller {
  if (caller.kind === 'iam') return caller;
  const { subject, claims } = caller;
  return { kind: 'jwt', subject, values: jwt === undefined ? [] : valuesOfClaim(claims, jwt.claim) };
}
