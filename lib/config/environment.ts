import { join, resolve } from 'node:path';
import { DEFAULT_HOME } from './defaults.ts';
import type { Problems } from './problems.ts';

/** The location of content and catalogue. */
export type StoreLocation =
  /** The embedded stack, with its state in the folder `home` (absolute). */
  | { readonly kind: 'local'; readonly home: string }
  | {
      readonly kind: 'aws';
      readonly bucket: string;
      readonly table: string;
      /** True if the environment sets an S3 endpoint: such servers rarely have a host name per bucket. */
      readonly s3PathStyle: boolean;
      /** That endpoint. */
      readonly s3Endpoint?: string;
      /** ARN of the state machine that pulls. */
      readonly stateMachine?: string;
      /** Name of the event bus. */
      readonly bus?: string;
      /** Name of the function that asks registries for the serving function. */
      readonly fetchFunction?: string;
      /** Name or ARN of the secret in Secrets Manager that signs passwords; on one machine, a file. */
      readonly signingSecret?: string;
      readonly signingKeyFile?: string;
    };

/** The location that the environment names; problems go to `found`. */
export function storeOf(
  variable: (name: string) => string | undefined,
  cwd: string,
  onLambda: boolean,
  found: Problems,
): StoreLocation {
  const bucket = variable('ENTREPOT_BUCKET');
  const table = variable('ENTREPOT_TABLE');
  if (bucket !== undefined && table !== undefined) {
    const s3Endpoint = variable('AWS_ENDPOINT_URL_S3') ?? variable('AWS_ENDPOINT_URL');
    const stateMachine = variable('ENTREPOT_STATE_MACHINE');
    const bus = variable('ENTREPOT_BUS');
    const fetchFunction = variable('ENTREPOT_FETCH_FUNCTION');
    const signingSecret = variable('ENTREPOT_SIGNING_SECRET');
    const signingKeyFile = variable('ENTREPOT_SIGNING_KEY_FILE');
    return {
      kind: 'aws',
      bucket,
      table,
      s3PathStyle: s3Endpoint !== undefined,
      ...(s3Endpoint === undefined ? {} : { s3Endpoint }),
      ...(stateMachine === undefined ? {} : { stateMachine }),
      ...(bus === undefined ? {} : { bus }),
      ...(fetchFunction === undefined ? {} : { fetchFunction }),
      ...(signingSecret === undefined ? {} : { signingSecret }),
      ...(signingKeyFile === undefined ? {} : { signingKeyFile: resolve(cwd, signingKeyFile) }),
    };
  }
  if (bucket !== undefined || table !== undefined || onLambda) {
    const both = onLambda ? 'Lambda needs both' : 'set both, or neither for the embedded stack';
    if (bucket === undefined) found.add('ENTREPOT_BUCKET', `is not set: it names the S3 bucket; ${both}`);
    if (table === undefined) found.add('ENTREPOT_TABLE', `is not set: it names the DynamoDB table; ${both}`);
  }
  return { kind: 'local', home: resolve(cwd, variable('ENTREPOT_HOME') ?? DEFAULT_HOME) };
}

/** Docker's `config.json`: in the folder of `DOCKER_CONFIG`, else in `.docker` of `HOME`; undefined if neither is set. */
export function dockerConfigPathOf(variable: (name: string) => string | undefined, cwd: string): string | undefined {
  const home = variable('HOME');
  const folder = variable('DOCKER_CONFIG') ?? (home === undefined ? undefined : join(home, '.docker'));
  return folder === undefined ? undefined : resolve(cwd, folder, 'config.json');
}

/** Endpoints that the AWS SDK's own variables set for each service instead of AWS. */
export type SdkEndpoints = Readonly<Record<'S3' | 'DYNAMODB' | 'SFN' | 'EVENTBRIDGE', URL | undefined>>;

/** https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html. The SDK reports values that are not URLs. */
export function sdkEndpoints(env: NodeJS.ProcessEnv = process.env): SdkEndpoints {
  const of = (service: keyof SdkEndpoints): URL | undefined =>
    URL.parse(env[`AWS_ENDPOINT_URL_${service}`] ?? env.AWS_ENDPOINT_URL ?? '') ?? undefined;
  return { S3: of('S3'), DYNAMODB: of('DYNAMODB'), SFN: of('SFN'), EVENTBRIDGE: of('EVENTBRIDGE') };
}

/** Whether the terminal can move its cursor, according to the environment. */
export const hasCursor = (environment: { readonly TERM?: string | undefined } = process.env): boolean =>
  environment.TERM !== 'dumb';
