import manifest from '../../package.json' with { type: 'json' };
import { nameOfCaller } from '../access/caller.ts';
import type { Answer, ApiCall, ApiDeps } from './api-call.ts';
import { jsonAnswer } from './http-event.ts';

/** Where one deployment keeps things: what an operator, and `entrepot doctor`, need to look at it. */
export interface DeploymentDocument {
  readonly version: string;
  /** Null where no state machine says it. */
  readonly region: string | null;
  /** Null where the names are not those of serverless.yml. */
  readonly stage: string | null;
  readonly bucket: string;
  readonly table: string;
  /** ARN of the workflow. */
  readonly stateMachine: string | null;
  /** Name of the event bus. */
  readonly bus: string | null;
  /** The registry endpoint. */
  readonly serve: {
    /** Its door. */
    readonly front: 'httpApi' | 'alb';
    /** Whether whoever pulls is asked for a login. */
    readonly auth: 'none' | 'basic';
    /** Where clients are sent for blobs. Null where that is S3's own address of the bucket. */
    readonly blobEndpoint: string | null;
  };
  /** Who asks, as access rules see it: an ARN, or the subject of a token. */
  readonly caller: string;
}

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
