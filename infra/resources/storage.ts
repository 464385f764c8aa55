import { attribute, ref, sub, type Resource, type Resources, type Value } from '../cloudformation.ts';
import type { StackSettings } from '../settings.ts';
import { tableDefinition, timeToLive } from '../table.ts';

/** Bucket and table as the other resources refer to them, whether or not the stack makes them. */
export interface Storage {
  readonly resources: Resources;
  readonly bucketName: Value;
  readonly bucketArn: Value;
  /** The objects of the bucket under a prefix such as `blobs/`. */
  readonly objectsArn: (prefix: string) => Value;
  readonly tableName: Value;
  readonly tableArn: Value;
}

/** S3 keeps the parts of an unfinished upload. No upload older than 6 days is resumed. */
const UPLOAD_DAYS = 7;
/** A workflow ends long before: see its time-out in infra/workflow.ts. */
const PLAN_DAYS = 7;

/** Bucket, its policy and table, except those that exist already. */
export function storage(settings: StackSettings): Storage {
  const { bucket, table, kmsKeyArn } = settings;
  const bucketArn = bucket === undefined ? attribute('Bucket', 'Arn') : sub(`arn:\${AWS::Partition}:s3:::${bucket}`);
  const objectsArn = (prefix: string): Value =>
    bucket === undefined ? sub(`\${Bucket.Arn}/${prefix}*`) : sub(`arn:\${AWS::Partition}:s3:::${bucket}/${prefix}*`);
  const resources: Record<string, Resource> = {};
  if (bucket === undefined) {
    resources.Bucket = bucketResource(kmsKeyArn);
    resources.BucketPolicy = {
      Type: 'AWS::S3::BucketPolicy',
      // The policy stays with the bucket that it protects.
      DeletionPolicy: 'Retain',
      UpdateReplacePolicy: 'Retain',
      Properties: { Bucket: ref('Bucket'), PolicyDocument: bucketPolicy(bucketArn, objectsArn) },
    };
  }
  if (table === undefined) resources.Table = tableResource(kmsKeyArn);
  return {
    resources,
    bucketName: bucket ?? ref('Bucket'),
    bucketArn,
    objectsArn,
    tableName: table ?? ref('Table'),
    tableArn:
      table === undefined
        ? attribute('Table', 'Arn')
        : sub(`arn:\${AWS::Partition}:dynamodb:\${AWS::Region}:\${AWS::AccountId}:table/${table}`),
  };
}

/** Rules for every writer of the bucket; an existing bucket needs the same statements. */
export function bucketPolicy(bucketArn: Value, objectsArn: (prefix: string) => Value): Value {
  return {
    Version: '2012-10-17',
    Statement: [
      {
        Sid: 'TlsOnly',
        Effect: 'Deny',
        Principal: '*',
        Action: 's3:*',
        Resource: [bucketArn, objectsArn('')],
        Condition: { Bool: { 'aws:SecureTransport': 'false' } },
      },
      {
        // Content and plans are never overwritten (I1), by any writer. Parts of uploads are s3:PutObject, too, but create no object and take no
        // condition: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
        Sid: 'CreateOnly',
        Effect: 'Deny',
        Principal: '*',
        Action: 's3:PutObject',
        Resource: [objectsArn('blobs/'), objectsArn('plans/')],
        Condition: { Null: { 's3:if-none-match': 'true' }, Bool: { 's3:ObjectCreationOperation': 'true' } },
      },
      {
        // Records of tags are replaced, but only with an If-Match of what is there.
        Sid: 'CompareAndSwap',
        Effect: 'Deny',
        Principal: '*',
        Action: 's3:PutObject',
        Resource: [objectsArn('refs/')],
        Condition: {
          Null: { 's3:if-none-match': 'true', 's3:if-match': 'true' },
          Bool: { 's3:ObjectCreationOperation': 'true' },
        },
      },
    ],
  };
}

function bucketResource(kmsKeyArn: string | undefined): Resource {
  const byDefault: Value =
    kmsKeyArn === undefined
      ? { ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }
      : {
          ServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms', KMSMasterKeyID: kmsKeyArn },
          // One request to KMS for many objects, instead of one for each.
          BucketKeyEnabled: true,
        };
  return {
    Type: 'AWS::S3::Bucket',
    DeletionPolicy: 'Retain',
    UpdateReplacePolicy: 'Retain',
    Properties: {
      BucketEncryption: { ServerSideEncryptionConfiguration: [byDefault] },
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
      // Deletions of content: see ContentDeletedRule.
      NotificationConfiguration: { EventBridgeConfiguration: { EventBridgeEnabled: true } },
      OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
      LifecycleConfiguration: {
        Rules: [
          {
            Id: 'abort-uploads',
            Status: 'Enabled',
            AbortIncompleteMultipartUpload: { DaysAfterInitiation: UPLOAD_DAYS },
          },
          { Id: 'expire-plans', Status: 'Enabled', Prefix: 'plans/', ExpirationInDays: PLAN_DAYS },
        ],
      },
    },
  };
}

/** The table of infra/table.ts, with what only AWS has. */
function tableResource(kmsKeyArn: string | undefined): Resource {
  const { BillingMode, AttributeDefinitions, KeySchema } = tableDefinition('');
  const { TimeToLiveSpecification } = timeToLive('');
  return {
    Type: 'AWS::DynamoDB::Table',
    DeletionPolicy: 'Retain',
    UpdateReplacePolicy: 'Retain',
    Properties: {
      ...(JSON.parse(JSON.stringify({ BillingMode, AttributeDefinitions, KeySchema })) as Record<string, Value>),
      TimeToLiveSpecification: JSON.parse(JSON.stringify(TimeToLiveSpecification)) as Value,
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      DeletionProtectionEnabled: true,
      // Without it DynamoDB encrypts with a key of its own.
      ...(kmsKeyArn === undefined
        ? {}
        : { SSESpecification: { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: kmsKeyArn } }),
    },
  };
}
