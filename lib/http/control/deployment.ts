import manifest from '../../../package.json' with { type: 'json' };
import type { AccessSettings, Caller } from '../../access/access.ts';
import { type MintedCaller, mintPassword } from '../../access/minted.ts';
import { nameOfCaller, valuesOfClaim } from '../../access/principal.ts';
import { TOKEN_USER } from '../../access/users.ts';
import { jsonAnswer } from '../http-event.ts';
import { HttpError } from '../problem.ts';
import type { deploymentSchema, DocumentOf, tokenSchema } from './answer-schemas.ts';
import type { Answer, ApiCall, ApiDeps } from './control-api.ts';
import { parseTokenBody } from './requests.ts';

/** The resources of a deployment, for operators and `entrepot doctor`. */
export type DeploymentDocument = DocumentOf<typeof deploymentSchema>;

/** `arn:aws:states:<region>:<account>:stateMachine:entrepot-<stage>-pull` */
const STATE_MACHINE = /^arn:[^:]+:states:(?<region>[^:]+):[^:]*:stateMachine:(?:entrepot-(?<stage>.+)-pull$)?/;

/** `GET /v1/deployment`: for every caller of the API, whichever repositories it may use. Only names, no secrets. */
export function getDeployment({ deployment, serve }: ApiDeps, { caller }: ApiCall): Promise<Answer> {
  const { bucket, table, stateMachine, bus } = deployment;
  const { front, auth, blobEndpoint } = serve;
  const { region, stage } = STATE_MACHINE.exec(stateMachine ?? '')?.groups ?? {};
  const document: DeploymentDocument = {
    version: manifest.version,
    region: region ?? null,
    stage: stage ?? null,
    bucket,
    table,
    stateMachine: stateMachine ?? null,
    bus: bus ?? null,
    serve: { front, auth: auth.kind, blobEndpoint: blobEndpoint?.origin ?? null },
    caller: nameOfCaller(caller),
  };
  return Promise.resolve(jsonAnswer(200, document));
}

/** A login for the registry endpoint. */
export type TokenDocument = DocumentOf<typeof tokenSchema>;

/** `POST /v1/token`: a password for the registry endpoint, for an hour at most. It may use there what the caller may use here. */
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
