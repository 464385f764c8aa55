import {
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketPolicyCommand,
  GetPublicAccessBlockCommand,
  type LifecycleRule,
} from '@aws-sdk/client-s3';
import { type Check, must, mustRefuse } from './check.ts';
import type { OpenUpload, S3Fixture } from './s3-fixture.ts';
import { completeUnconditionally } from './s3-upload-checks.ts';

const NO_POLICY = 'its S3 has no settings and policies of buckets';
/** Uploads older than six days are not resumed (lib/store/s3-resume.ts). */
const LEAST_UPLOAD_DAYS = 7;

interface Statement {
  readonly Effect?: string;
  readonly Principal?: unknown;
  readonly Action?: string | readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** What the bucket itself must be like, also one that existed before. */
export const S3_BUCKET_CHECKS: readonly Check<S3Fixture>[] = [
  {
    id: 's3-policy-create-only',
    claim: 'no one can create an object under blobs/, plans/ or refs/ unconditionally',
    awsOnly: NO_POLICY,
    async run(fixture, signal) {
      const refusals: string[] = [];
      for (const folder of ['blobs', 'plans', 'refs']) {
        const key = fixture.key('unconditional', folder);
        refusals.push(await mustRefuse(`PUT under ${folder}/`, [403], () => fixture.put(key, 'doctor', {}, signal)));
        must(!(await fixture.isThere(key, signal)), `${refusals.join('; ')}, but the object is there`);
      }
      return refusals.join('; ');
    },
  },
  {
    id: 's3-policy-parts',
    claim: 'the policy allows parts of uploads, and refuses Complete without If-None-Match',
    awsOnly: NO_POLICY,
    async run(fixture, signal) {
      const key = fixture.key('upload', 'blobs');
      const upload: OpenUpload = { key, uploadId: await fixture.begin(key, 'CRC32', signal) };
      const part = await fixture.part(upload, 1, Buffer.from('doctor'), signal);
      const refusal = await mustRefuse('Complete without If-None-Match', [403], () =>
        completeUnconditionally(fixture, upload, part, signal),
      );
      must(!(await fixture.isThere(key, signal)), `${refusal}, but the object is there`);
      return `the part was accepted; ${refusal}`;
    },
  },
  {
    id: 's3-policy-tls',
    claim: 'the policy refuses requests without TLS',
    awsOnly: NO_POLICY,
    // Read, not tried: a signed request without TLS would expose its signature.
    async run({ client, bucket }, signal) {
      const { Policy = '{}' } = await client.send(new GetBucketPolicyCommand({ Bucket: bucket }), {
        abortSignal: signal,
      });
      const { Statement: statements = [] } = JSON.parse(Policy) as { Statement?: readonly Statement[] };
      const denies = statements.some(
        ({ Effect, Action, Condition }) =>
          Effect === 'Deny' &&
          [Action].flat().includes('s3:*') &&
          String(Condition?.Bool?.['aws:SecureTransport']) === 'false',
      );
      must(denies, 'no statement of the policy denies s3:* if aws:SecureTransport is false');
      return 'a statement denies s3:* where aws:SecureTransport is false';
    },
  },
  {
    id: 's3-public-access',
    claim: 'public access to the bucket is blocked in all four ways',
    awsOnly: NO_POLICY,
    async run({ client, bucket }, signal) {
      const { PublicAccessBlockConfiguration: block = {} } = await client.send(
        new GetPublicAccessBlockCommand({ Bucket: bucket }),
        { abortSignal: signal },
      );
      const { BlockPublicAcls, BlockPublicPolicy, IgnorePublicAcls, RestrictPublicBuckets } = block;
      const seen = JSON.stringify({ BlockPublicAcls, BlockPublicPolicy, IgnorePublicAcls, RestrictPublicBuckets });
      must([BlockPublicAcls, BlockPublicPolicy, IgnorePublicAcls, RestrictPublicBuckets].every(Boolean), seen);
      return seen;
    },
  },
  {
    id: 's3-encryption',
    claim: 'objects are encrypted by default; with a key of KMS, through the bucket key',
    awsOnly: NO_POLICY,
    async run({ client, bucket }, signal) {
      const answer = await client.send(new GetBucketEncryptionCommand({ Bucket: bucket }), { abortSignal: signal });
      const [rule] = answer.ServerSideEncryptionConfiguration?.Rules ?? [];
      const algorithm = rule?.ApplyServerSideEncryptionByDefault?.SSEAlgorithm;
      const seen = `${algorithm ?? 'none'}${rule?.BucketKeyEnabled === true ? ', bucket key on' : ''}`;
      must(algorithm !== undefined && (algorithm === 'AES256' || rule?.BucketKeyEnabled === true), seen);
      return seen;
    },
  },
  {
    id: 's3-lifecycle',
    claim: `open uploads are aborted, not before ${LEAST_UPLOAD_DAYS} days; old plans expire`,
    awsOnly: NO_POLICY,
    async run({ client, bucket }, signal) {
      const { Rules: rules = [] } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }), {
        abortSignal: signal,
      });
      const enabled = rules.filter(({ Status }) => Status === 'Enabled');
      const days = enabled.flatMap((rule) => rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation ?? []);
      const isAborted = days.length > 0 && Math.min(...days) >= LEAST_UPLOAD_DAYS;
      must(isAborted, `uploads are aborted after ${days.length === 0 ? 'no number of' : days.join(', ')} days`);
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- CloudFormation writes rules in this older form, too
      const isOfPlans = (rule: LifecycleRule): boolean => (rule.Filter?.Prefix ?? rule.Prefix) === 'plans/';
      const plans = enabled.find(isOfPlans)?.Expiration?.Days;
      must(plans !== undefined, 'no rule expires the objects under plans/');
      return `uploads ${days.join(', ')} days, plans ${plans} days`;
    },
  },
  {
    id: 's3-notifications',
    claim: 'the bucket sends its events to EventBridge, so that the cache learns of deleted content',
    awsOnly: 'its S3 always reports deletions to the application',
    async run({ client, bucket }, signal) {
      const { EventBridgeConfiguration: eventBridge } = await client.send(
        new GetBucketNotificationConfigurationCommand({ Bucket: bucket }),
        { abortSignal: signal },
      );
      must(eventBridge !== undefined, 'notifications to EventBridge are off');
      return 'notifications to EventBridge are on';
    },
  },
];
