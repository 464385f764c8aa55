import { ConfigError } from '../lib/errors/cache-error.ts';

/** The parameters of serverless.yml, checked. */
export interface StackSettings {
  readonly stage: string;
  /** An existing bucket; without it the stack makes its own. */
  readonly bucket?: string;
  /** An existing table, for example one that was restored; without it the stack makes its own. */
  readonly table?: string;
  /** The key of bucket and table; without it S3 and DynamoDB use their own. */
  readonly kmsKeyArn?: string;
  readonly logRetentionDays: number;
  /** Of every role. */
  readonly permissionsBoundary?: string;
  readonly rolePath: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Without it no function is in a VPC, and no NAT is needed. */
  readonly vpc?: { readonly subnetIds: readonly string[]; readonly securityGroupIds: readonly string[] };
  /** Concurrent invocations reserved for `copy`. Undefined: nothing is reserved. */
  readonly copyConcurrency?: number;
  /** The same for `registry`, which waits together with its clients. */
  readonly registryConcurrency?: number;
  /** SNS topic that alarms notify. */
  readonly alarmTopicArn?: string;
  readonly apiRequestsPerSecond: number;
  /** Of the registry endpoint behind the HTTP API. */
  readonly registryRequestsPerSecond: number;
  /** Where to put the load balancer of `serve.front: alb`. */
  readonly loadBalancer?: {
    readonly subnetIds: readonly string[];
    readonly securityGroupIds: readonly string[];
    readonly certificateArn: string;
  };
}

/** The parameters by name, as osls gives them: strings, or what YAML made of them. An empty one is not set. */
export const PARAMETERS = [
  'bucket',
  'table',
  'kmsKeyArn',
  'logRetentionDays',
  'permissionsBoundary',
  'rolePath',
  'tags',
  'vpcSubnetIds',
  'vpcSecurityGroupIds',
  'copyConcurrency',
  'registryConcurrency',
  'alarmTopicArn',
  'apiRequestsPerSecond',
  'registryRequestsPerSecond',
  'albSubnetIds',
  'albSecurityGroupIds',
  'albCertificateArn',
] as const;
export type ParameterName = (typeof PARAMETERS)[number];

/** What osls lets CloudWatch Logs keep: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html */
const RETENTION_DAYS = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 2192, 2557, 2922, 3288, 3653,
];
/** AWS takes names of 64 characters; ours hold the stage and a suffix. */
const STAGE = /^[a-z](?:-?[a-z0-9]){0,15}$/;
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const TABLE = /^[A-Za-z0-9_.-]{3,255}$/;
const KEY_ARN = /^arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/;
const POLICY_ARN = /^arn:aws[\w-]*:iam::(?:\d{12}|aws):policy\/[\w+=,.@/-]+$/;
const ROLE_PATH = /^\/(?:[\u0021-\u007e]{1,510}\/)?$/;
const SUBNET = /^subnet-[0-9a-f]{8,17}$/;
const SECURITY_GROUP = /^sg-[0-9a-f]{8,17}$/;
const TOPIC_ARN = /^arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}(?:\.fifo)?$/;
const CERTIFICATE_ARN = /^arn:aws[\w-]*:acm:[a-z0-9-]+:\d{12}:certificate\/[\w-]+$/;
const TAG_KEY = /^(?!aws:)[\w .:/=+@-]{1,128}$/;

/**
 * The settings of a stage.
 *
 * @throws ConfigError that lists every wrong parameter.
 */
export function stackSettings(
  stage: string,
  parameters: Readonly<Partial<Record<ParameterName, unknown>>>,
): StackSettings {
  const problems: string[] = [];
  const text = (name: ParameterName): string | undefined => {
    const value = parameters[name];
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value === 'string' || typeof value === 'number') return String(value).trim();
    problems.push(`${name}: write text, not ${Array.isArray(value) ? 'a list' : typeof value}`);
    return undefined;
  };
  const matching = (name: ParameterName, pattern: RegExp, form: string): string | undefined => {
    const value = text(name);
    if (value === undefined || pattern.test(value)) return value;
    problems.push(`${name}: ${JSON.stringify(value)} is not valid; write ${form}`);
    return undefined;
  };
  const whole = (name: ParameterName, usual: number, min: number, max: number): number => {
    const value = text(name);
    if (value === undefined) return usual;
    if (/^\d{1,9}$/.test(value) && Number(value) >= min && Number(value) <= max) return Number(value);
    problems.push(`${name}: ${JSON.stringify(value)}; write a whole number from ${min} to ${max}`);
    return usual;
  };
  const list = (name: ParameterName, pattern: RegExp, form: string): readonly string[] => {
    const items = (text(name) ?? '').split(',').map((item) => item.trim());
    const given = items.filter((item) => item !== '');
    for (const item of given) {
      if (!pattern.test(item)) problems.push(`${name}: ${JSON.stringify(item)} is not valid; write ${form}`);
    }
    return given;
  };

  if (!STAGE.test(stage)) {
    problems.push(
      `stage: ${JSON.stringify(stage)}; write lower-case letters, digits and single "-", at most 16, a letter first`,
    );
  }
  const logRetentionDays = whole('logRetentionDays', 30, 1, 3653);
  if (!RETENTION_DAYS.includes(logRetentionDays)) {
    problems.push(`logRetentionDays: CloudWatch Logs takes one of ${RETENTION_DAYS.join(', ')}`);
  }
  const subnetIds = list('vpcSubnetIds', SUBNET, 'ids such as subnet-0123456789abcdef0, separated by ","');
  const securityGroupIds = list('vpcSecurityGroupIds', SECURITY_GROUP, 'ids such as sg-0123456789abcdef0');
  if (subnetIds.length > 0 !== securityGroupIds.length > 0) {
    problems.push('vpcSubnetIds and vpcSecurityGroupIds: give both, or neither for functions outside any VPC');
  }
  const bucket = matching('bucket', BUCKET, 'the name of a bucket');
  const table = matching('table', TABLE, 'the name of a table');
  const kmsKeyArn = matching('kmsKeyArn', KEY_ARN, 'arn:aws:kms:<region>:<account>:key/<id> (no alias)');
  const permissionsBoundary = matching('permissionsBoundary', POLICY_ARN, 'arn:aws:iam::<account>:policy/<name>');
  const rolePath = matching('rolePath', ROLE_PATH, 'a path such as /team/') ?? '/';
  const alarmTopicArn = matching('alarmTopicArn', TOPIC_ARN, 'arn:aws:sns:<region>:<account>:<topic>');
  // "none", not 0: a reservation of 0 would stop the function.
  const reserves = text('copyConcurrency') !== 'none';
  const copyConcurrency = reserves ? whole('copyConcurrency', 40, 1, 10_000) : undefined;
  const bounds = (text('registryConcurrency') ?? 'none') !== 'none';
  const registryConcurrency = bounds ? whole('registryConcurrency', 1, 1, 10_000) : undefined;
  const apiRequestsPerSecond = whole('apiRequestsPerSecond', 100, 1, 10_000);
  const registryRequestsPerSecond = whole('registryRequestsPerSecond', 1_000, 1, 100_000);
  const alb = {
    subnetIds: list('albSubnetIds', SUBNET, 'ids such as subnet-0123456789abcdef0, separated by ","'),
    securityGroupIds: list('albSecurityGroupIds', SECURITY_GROUP, 'ids such as sg-0123456789abcdef0'),
    certificateArn: matching(
      'albCertificateArn',
      CERTIFICATE_ARN,
      'arn:aws:acm:<region>:<account>:certificate/<id> of the name that clients pull from',
    ),
  };
  const { certificateArn } = alb;
  const hasAlb = alb.subnetIds.length > 0 || alb.securityGroupIds.length > 0 || certificateArn !== undefined;
  if (hasAlb && (alb.subnetIds.length < 2 || alb.securityGroupIds.length === 0 || certificateArn === undefined)) {
    problems.push(
      'albSubnetIds, albSecurityGroupIds and albCertificateArn: give all three, with subnets of two availability zones, or none',
    );
  }
  const tags = tagsOf(text('tags'), problems);
  if (problems.length > 0) {
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    throw new ConfigError([`the parameters of the stack have ${count}`, ...problems].join('\n  '));
  }
  return {
    stage,
    ...(bucket === undefined ? {} : { bucket }),
    ...(table === undefined ? {} : { table }),
    ...(kmsKeyArn === undefined ? {} : { kmsKeyArn }),
    ...(permissionsBoundary === undefined ? {} : { permissionsBoundary }),
    ...(alarmTopicArn === undefined ? {} : { alarmTopicArn }),
    ...(copyConcurrency === undefined ? {} : { copyConcurrency }),
    ...(registryConcurrency === undefined ? {} : { registryConcurrency }),
    ...(subnetIds.length === 0 ? {} : { vpc: { subnetIds, securityGroupIds } }),
    logRetentionDays,
    rolePath,
    tags,
    apiRequestsPerSecond,
    registryRequestsPerSecond,
    ...(certificateArn === undefined ? {} : { loadBalancer: { ...alb, certificateArn } }),
  };
}

/** `team=platform,cost-centre=42`. */
function tagsOf(text: string | undefined, problems: string[]): Readonly<Record<string, string>> {
  const tags: Record<string, string> = {};
  for (const tag of (text ?? '').split(',').filter((item) => item.trim() !== '')) {
    const at = tag.indexOf('=');
    const [key, value] = [tag.slice(0, at).trim(), tag.slice(at + 1).trim()];
    if (at < 1 || !TAG_KEY.test(key) || value.length > 256) {
      problems.push(`tags: ${JSON.stringify(tag)}; write key=value, several separated by ","`);
    } else tags[key] = value;
  }
  return tags;
}
