import type { Template, Value } from '../cloudformation.ts';
import { timeToLive } from '../table.ts';
import { at, listOf, ofType, same, shown, statementsIn, unless, type Found, type Properties } from './check.ts';

const BUCKET = 'AWS::S3::Bucket';
const TABLE = 'AWS::DynamoDB::Table';
/** osls's own, for code: not content. */
const isContent = ({ id }: Found): boolean => !id.startsWith('ServerlessDeployment');
const UPLOAD_DAYS = 7;
/** Rows of one transaction that records losses. */
const LOST_AT_ONCE = 84;

/** Our bucket reports every deletion, and a rule sends them to a queue that is read in batches. */
export const deletionsAreHeard = (template: Template): readonly string[] => {
  const isRead = (queue: Value | undefined): boolean =>
    ofType(template, 'AWS::Lambda::EventSourceMapping').some(
      ({ properties }) =>
        queue !== undefined &&
        same(properties.EventSourceArn, queue) &&
        properties.Enabled !== false &&
        Number(properties.BatchSize) >= LOST_AT_ONCE,
    );
  const mayWrite = (rule: string, queue: Value | undefined): boolean =>
    ofType(template, 'AWS::SQS::QueuePolicy')
      .flatMap(({ properties }) => statementsIn(properties.PolicyDocument))
      .some(
        (statement) =>
          statement.Effect === 'Allow' &&
          same(statement.Resource, queue) &&
          same(at(statement.Condition, 'ArnEquals', 'aws:SourceArn', 0, 'Fn::GetAtt', 0), rule),
      );
  const heard = ofType(template, 'AWS::Events::Rule').some(({ id, properties }) => {
    const queue = at(properties.Targets, 0, 'Arn');
    return (
      same(at(properties.EventPattern, 'source'), ['aws.s3']) &&
      same(at(properties.EventPattern, 'detail-type'), ['Object Deleted']) &&
      properties.State !== 'DISABLED' &&
      isRead(queue) &&
      mayWrite(id, queue)
    );
  });
  return [
    ...(heard ? [] : ['no rule matches deleted content']),
    ...unless(
      ofType(template, 'AWS::S3::Bucket').filter(({ id }) => id === 'Bucket'),
      'does not report deletions',
      ({ properties }) =>
        at(properties.NotificationConfiguration, 'EventBridgeConfiguration', 'EventBridgeEnabled') === true,
    ),
  ];
};

export const bucketsAreEncrypted = (template: Template): readonly string[] =>
  unless(
    ofType(template, BUCKET),
    'is not encrypted by S3’s key, or by a given key with the bucket key on',
    (bucket) => {
      const rule = at(bucket.properties.BucketEncryption, 'ServerSideEncryptionConfiguration', 0);
      const algorithm = at(rule, 'ServerSideEncryptionByDefault', 'SSEAlgorithm');
      const withKey =
        algorithm === 'aws:kms' &&
        at(rule, 'ServerSideEncryptionByDefault', 'KMSMasterKeyID') !== undefined &&
        at(rule, 'BucketKeyEnabled') === true;
      return algorithm === 'AES256' || withKey;
    },
  );

export const bucketsArePrivate = (template: Template): readonly string[] =>
  unless(ofType(template, BUCKET), 'does not block public access', ({ properties }) =>
    ['BlockPublicAcls', 'BlockPublicPolicy', 'IgnorePublicAcls', 'RestrictPublicBuckets'].every(
      (name) => at(properties.PublicAccessBlockConfiguration, name) === true,
    ),
  );

export const bucketHasNoAcls = (template: Template): readonly string[] =>
  unless(
    ofType(template, BUCKET).filter(isContent),
    'has ACLs: its owner is not enforced',
    ({ properties }) => at(properties.OwnershipControls, 'Rules', 0, 'ObjectOwnership') === 'BucketOwnerEnforced',
  );

export const bucketsTakeTlsOnly = (template: Template): readonly string[] =>
  unless(ofType(template, BUCKET), 'has no policy that denies everything without TLS', (bucket) =>
    policyStatements(template, bucket).some(
      (statement) =>
        deniesEverybody(statement) &&
        same(statement.Action, 's3:*') &&
        shown(at(statement.Condition, 'Bool', 'aws:SecureTransport')) === 'false' &&
        listOf(statement.Resource).length === 2,
    ),
  );

/** Content and plans are created, never overwritten; parts of uploads create nothing, and are exempt. */
export const bucketRefusesOverwrites = (template: Template): readonly string[] =>
  deniesCreation(
    template,
    'has no policy that denies creation without If-None-Match under blobs/ and plans/, with parts exempt',
    { 's3:if-none-match': 'true' },
    ['/blobs/*', '/plans/*'],
  );

/** Records are replaced only with an If-Match. */
export const bucketComparesRecords = (template: Template): readonly string[] =>
  deniesCreation(
    template,
    'has no policy that denies creation without If-None-Match and If-Match under refs/',
    { 's3:if-none-match': 'true', 's3:if-match': 'true' },
    ['/refs/*'],
  );

const deniesCreation = (
  template: Template,
  problem: string,
  absent: Readonly<Record<string, string>>,
  prefixes: readonly string[],
): readonly string[] =>
  unless(ofType(template, BUCKET).filter(isContent), problem, (bucket) =>
    policyStatements(template, bucket).some(
      (statement) =>
        deniesEverybody(statement) &&
        same(statement.Action, 's3:PutObject') &&
        same(statement.Condition ?? '', { Null: absent, Bool: { 's3:ObjectCreationOperation': 'true' } }) &&
        prefixes.every((prefix) => listOf(statement.Resource).some((resource) => shown(resource).includes(prefix))),
    ),
  );

export const uploadsAreAborted = (template: Template): readonly string[] =>
  unless(
    ofType(template, BUCKET).filter(isContent),
    `does not abort uploads ${UPLOAD_DAYS} days after their start`,
    (bucket) =>
      lifecycleRules(bucket).some(
        (rule) =>
          at(rule, 'AbortIncompleteMultipartUpload', 'DaysAfterInitiation') === UPLOAD_DAYS &&
          at(rule, 'Prefix') === undefined,
      ),
  );

/** Only plans expire: an expired blob would make the catalogue wrong. */
export const onlyPlansExpire = (template: Template): readonly string[] =>
  unless(ofType(template, BUCKET).filter(isContent), 'expires something other than plans/, or not those', (bucket) => {
    const expiring = lifecycleRules(bucket).filter((rule) => at(rule, 'ExpirationInDays') !== undefined);
    return expiring.length === 1 && at(expiring[0], 'Prefix') === 'plans/';
  });

export const dataIsRetained = (template: Template): readonly string[] =>
  unless(
    [...ofType(template, BUCKET), ...ofType(template, TABLE)].filter(isContent),
    'is deleted with the stack, or when it is replaced',
    ({ resource }) => resource.DeletionPolicy === 'Retain' && resource.UpdateReplacePolicy === 'Retain',
  );

export const tableCanBeRestored = (template: Template): readonly string[] =>
  unless(
    ofType(template, TABLE),
    'has no point-in-time recovery',
    ({ properties }) => at(properties.PointInTimeRecoverySpecification, 'PointInTimeRecoveryEnabled') === true,
  );

export const tableIsProtected = (template: Template): readonly string[] =>
  unless(
    ofType(template, TABLE),
    'has no deletion protection',
    ({ properties }) => properties.DeletionProtectionEnabled === true,
  );

export const tableIsOnDemand = (template: Template): readonly string[] =>
  unless(
    ofType(template, TABLE),
    'is not billed on demand',
    ({ properties }) => properties.BillingMode === 'PAY_PER_REQUEST',
  );

export const tableExpiresRows = (template: Template): readonly string[] =>
  unless(ofType(template, TABLE), 'does not expire rows by the attribute of infra/table.ts', ({ properties }) =>
    same(
      properties.TimeToLiveSpecification,
      JSON.parse(JSON.stringify(timeToLive('').TimeToLiveSpecification)) as Value,
    ),
  );

/** Bucket and table use the same key, or none. */
export const dataHasOneKey = (template: Template): readonly string[] => {
  const [bucket] = ofType(template, BUCKET).filter(isContent);
  const [table] = ofType(template, TABLE);
  if (bucket === undefined || table === undefined) return [];
  const ofBucket = at(
    bucket.properties.BucketEncryption,
    ...['ServerSideEncryptionConfiguration', 0, 'ServerSideEncryptionByDefault', 'KMSMasterKeyID'],
  );
  const ofTable = at(table.properties.SSESpecification, 'KMSMasterKeyId');
  return same(ofBucket, ofTable) ? [] : [`${bucket.id} and ${table.id} are not encrypted by the same key`];
};

const deniesEverybody = (statement: Properties): boolean => statement.Effect === 'Deny' && statement.Principal === '*';

const policyStatements = (template: Template, bucket: Found): readonly Properties[] =>
  ofType(template, 'AWS::S3::BucketPolicy')
    .filter(({ properties }) => same(properties.Bucket, { Ref: bucket.id }))
    .flatMap(({ properties }) => statementsIn(properties.PolicyDocument));

const lifecycleRules = ({ properties }: Found): readonly Value[] =>
  listOf(at(properties.LifecycleConfiguration, 'Rules')).filter((rule) => at(rule, 'Status') === 'Enabled');
