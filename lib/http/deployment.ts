import manifest from '../../package.json' with { type: 'json' };
import { nameOfCaller } from '../access/principal.ts';
import type { Answer, ApiCall, ApiDeps } from './api-call.ts';
import { jsonAnswer } from './http-event.ts';
import type { DocumentOf, deploymentSchema } from './answer-schemas.ts';

/** Where one deployment keeps things: what an operator, and `entrepot doctor`, need to look at it. */
export type DeploymentDocument = DocumentOf<typeof deploymentSchema>;

/** `arn:aws:states:<region>:<account>:stateMachine:entrepot-<stage>-pull` */
const STATE_MACHINE = /^arn:[^:]+:states:(?<region>[^:]+):[^:]*:stateMachine:(?:entrepot-(?<stage>.+)-pull$)?/;

/** `GET /v1/deployment`: for every caller that may call at all, whatever repositories it may use. Names only, and nothing secret. */
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
