import { arn, attribute, sub, type Value } from '../cloudformation.ts';
import { ENDPOINT_PARTITIONS } from '../../lib/table/keys.ts';
import type { CompiledConfig } from '../../lib/config/compiled.ts';
import { parseEcrHost, type RegistrySettings } from '../../lib/registry/settings.ts';
import { busArn, executionArns, functionArn, stackName, stateMachineArn, type FunctionName } from '../names.ts';
import type { StackSettings } from '../settings.ts';
import { coarsePatterns } from './coarse-patterns.ts';
import { CONTENT_DELETED, FAILED_EVENTS } from './queues.ts';
import { signingSecretArn } from './signing.ts';
import type { Storage } from './storage.ts';

export type Statement = Readonly<Record<string, Value>>;

/** What a function may do, by purpose. */
export type Capability =
  /** Rows of the catalogue, of locks and of pulls. */
  | 'table'
  /** To read all rows, and to write those of locks, pulls and waiting clients: for the function that the internet reaches. */
  | 'endpointTable'
  /** To find content, and to read manifests. */
  | 'readBlobs'
  /** To put content, in parts too, and to delete what proved wrong. */
  | 'writeBlobs'
  /** Records of tags, tombstones of removed ones, and the incarnation. They are read before they are written, so that a late writer overwrites nothing newer. */
  | 'writeRefs'
  | 'readPlans'
  | 'writePlans'
  /** To ask the configured registries, with their credentials. */
  | 'registries'
  /** To start executions of the state machine, and to see whether they run. */
  | 'startPulls'
  | 'seePulls'
  /** To have the function `fetch` ask a registry. */
  | 'fetch'
  | 'announce'
  /** To read the secret that signs passwords. */
  | 'signPasswords'
  /** To read the secret with the users of `serve.auth`, where they are in one. */
  | 'readUsers'
  /** To keep the event of an asynchronous invocation that failed. */
  | 'failedEvents'
  /** To have Lambda read the queue of deletions for the function. */
  | 'readDeletions';

/** What the statements name. */
export interface Surroundings {
  readonly settings: StackSettings;
  readonly config: CompiledConfig;
  readonly storage: Storage;
}

/** The statements of one function's role: its logs, and what its capabilities need. */
export function statementsOf(
  name: FunctionName,
  capabilities: readonly Capability[],
  surroundings: Surroundings,
): readonly Statement[] {
  return [
    allow(
      ['logs:CreateLogStream', 'logs:PutLogEvents'],
      [arn('logs', `log-group:/aws/lambda/${stackName(surroundings.settings.stage)}-${name}:*`)],
    ),
    ...capabilities.flatMap((capability) => STATEMENTS[capability](surroundings)),
    ...keyStatements(capabilities, surroundings),
    ...vpcStatements(name, surroundings.settings),
  ];
}

export const allow = (
  actions: readonly string[],
  resources: readonly Value[],
  condition?: Readonly<Record<string, Value>>,
): Statement => ({
  Effect: 'Allow',
  Action: actions,
  Resource: resources,
  ...(condition === undefined ? {} : { Condition: condition }),
});

const STATEMENTS: Readonly<Record<Capability, (surroundings: Surroundings) => readonly Statement[]>> = {
  table: ({ storage }) => [
    allow(
      [
        'dynamodb:BatchGetItem',
        'dynamodb:BatchWriteItem',
        'dynamodb:ConditionCheckItem',
        'dynamodb:DeleteItem',
        'dynamodb:GetItem',
        'dynamodb:PutItem',
        'dynamodb:Query',
        'dynamodb:UpdateItem',
      ],
      [storage.tableArn],
    ),
  ],
  endpointTable: ({ storage }) => [
    allow(['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:Query'], [storage.tableArn]),
    // Without this, a request with no leading keys would pass.
    allow(['dynamodb:UpdateItem'], [storage.tableArn], {
      'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': ENDPOINT_PARTITIONS },
      Null: { 'dynamodb:LeadingKeys': 'false' },
    }),
  ],
  readBlobs: ({ storage }) => [
    allow(['s3:GetObject'], [storage.objectsArn('blobs/')]),
    // Without it S3 answers 403 for a missing key, which looks like a wrong policy (I6).
    allow(['s3:ListBucket'], [storage.bucketArn]),
  ],
  writeBlobs: ({ storage }) => [
    allow(
      ['s3:AbortMultipartUpload', 's3:DeleteObject', 's3:ListMultipartUploadParts', 's3:PutObject'],
      [storage.objectsArn('blobs/')],
    ),
  ],
  writeRefs: ({ storage }) => [allow(['s3:GetObject', 's3:PutObject'], [storage.objectsArn('refs/')])],
  readPlans: ({ storage }) => [allow(['s3:GetObject'], [storage.objectsArn('plans/')])],
  writePlans: ({ storage }) => [allow(['s3:PutObject'], [storage.objectsArn('plans/')])],
  registries: registryStatements,
  startPulls: ({ settings }) => [
    allow(['states:StartExecution'], [stateMachineArn(settings.stage)]),
    allow(['states:DescribeExecution'], [executionArns(settings.stage)]),
  ],
  seePulls: ({ settings }) => [
    allow(['states:ListExecutions'], [stateMachineArn(settings.stage)]),
    allow(['states:DescribeExecution'], [executionArns(settings.stage)]),
  ],
  fetch: ({ settings }) => [allow(['lambda:InvokeFunction'], [functionArn(settings.stage, 'fetch')])],
  announce: ({ settings }) => [allow(['events:PutEvents'], [busArn(settings.stage)])],
  signPasswords: () => [allow(['secretsmanager:GetSecretValue'], [signingSecretArn])],
  readUsers: ({ config }) => {
    const secretId = usersSecretOf(config);
    return secretId === undefined ? [] : [allow(['secretsmanager:GetSecretValue'], secretArns(secretId))];
  },
  failedEvents: () => [allow(['sqs:SendMessage'], [attribute(FAILED_EVENTS, 'Arn')])],
  readDeletions: () => [
    allow(['sqs:DeleteMessage', 'sqs:GetQueueAttributes', 'sqs:ReceiveMessage'], [attribute(CONTENT_DELETED, 'Arn')]),
  ],
};

/** Only what the configured registries need: named secrets, named roles, and the allowed repositories of ECR. */
function registryStatements({ config }: Surroundings): readonly Statement[] {
  const registries = [...config.registries.values()];
  const secrets = registries.flatMap(({ credentials }) =>
    credentials.kind === 'secret' ? secretArns(credentials.secretId) : [],
  );
  const roles = registries.flatMap(({ credentials }) =>
    credentials.kind === 'ecr' && credentials.roleArn !== undefined ? [credentials.roleArn] : [],
  );
  const direct = registries.filter(
    ({ credentials }) => credentials.kind === 'ecr' && credentials.roleArn === undefined,
  );
  const allowed = unique(direct.flatMap(repositoryArns));
  return [
    ...(secrets.length === 0 ? [] : [allow(['secretsmanager:GetSecretValue'], unique(secrets))]),
    ...(roles.length === 0 ? [] : [allow(['sts:AssumeRole'], unique(roles))]),
    // A pattern may match no possible name.
    ...(allowed.length === 0
      ? []
      : [
          // AWS has no resource for it: the token is for the whole account.
          allow(['ecr:GetAuthorizationToken'], ['*']),
          allow(
            ['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer', 'ecr:ListImages'],
            allowed,
          ),
        ]),
  ];
}

function usersSecretOf({ serve: { auth } }: CompiledConfig): string | undefined {
  const users = auth.kind === 'basic' ? auth.users : undefined;
  return users !== undefined && 'secretId' in users ? users.secretId : undefined;
}

/** The ARN of a secret ends with "-" and six random characters, which a name or a partial ARN lacks. */
function secretArns(secretId: string): readonly Value[] {
  if (!secretId.startsWith('arn:')) return [arn('secretsmanager', `secret:${secretId}-??????`)];
  return /-[A-Za-z0-9]{6}$/.test(secretId) ? [secretId] : [`${secretId}-??????`];
}

/** The repositories that the entry's `allow` names, as closely as IAM patterns can. */
function repositoryArns({ name, endpoint, allow: patterns }: RegistrySettings): readonly Value[] {
  const place = parseEcrHost(name) ?? parseEcrHost(endpoint.hostname);
  if (place === undefined) return [];
  return patterns
    .flatMap(coarsePatterns)
    .map((pattern) => sub(`arn:\${AWS::Partition}:ecr:${place.region}:${place.accountId}:repository/${pattern}`));
}

const unique = (values: readonly Value[]): readonly Value[] => [
  ...new Map(values.map((value) => [JSON.stringify(value), value])).values(),
];

/** Only through the services that hold the content, and only if a key is given. */
function keyStatements(capabilities: readonly Capability[], { settings, config }: Surroundings): readonly Statement[] {
  if (settings.kmsKeyArn === undefined) return [];
  const inBucket = capabilities.some((capability) => /Blobs|Refs|Plans/.test(capability));
  const withSecrets =
    capabilities.includes('signPasswords') ||
    (capabilities.includes('readUsers') && usersSecretOf(config) !== undefined) ||
    (capabilities.includes('registries') &&
      [...config.registries.values()].some(({ credentials }) => credentials.kind === 'secret'));
  const services = ['dynamodb', ...(inBucket ? ['s3'] : []), ...(withSecrets ? ['secretsmanager'] : [])];
  return [
    allow(['kms:Decrypt', 'kms:DescribeKey', 'kms:Encrypt', 'kms:GenerateDataKey'], [settings.kmsKeyArn], {
      StringEquals: {
        'kms:ViaService': services.map((service) => sub(`${service}.\${AWS::Region}.\${AWS::URLSuffix}`)),
      },
    }),
  ];
}

const NETWORK_ACTIONS = [
  'ec2:AssignPrivateIpAddresses',
  'ec2:CreateNetworkInterface',
  'ec2:DeleteNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:UnassignPrivateIpAddresses',
];

/** Lambda makes the network interfaces with the role of the function; the function's code must not. */
function vpcStatements(name: FunctionName, { vpc, stage }: StackSettings): readonly Statement[] {
  if (vpc === undefined) return [];
  return [
    // Lambda calls these without a resource: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
    allow(NETWORK_ACTIONS, ['*']),
    {
      Effect: 'Deny',
      Action: NETWORK_ACTIONS,
      Resource: ['*'],
      Condition: { ArnEquals: { 'lambda:SourceFunctionArn': [functionArn(stage, name)] } },
    },
  ];
}
