import { API_CHECKS, openApiScene } from './api-checks.ts';
import { DYNAMO_ROW_CHECKS } from './dynamo-row-checks.ts';
import { openDynamoScene } from './dynamo-scene.ts';
import { DYNAMO_TABLE_CHECKS } from './dynamo-table-checks.ts';
import { EVENTS_CHECKS, openEventsScene } from './events-checks.ts';
import { checkGroup, type CheckGroup } from './examine.ts';
import { openPlatformScene, PLATFORM_CHECKS } from './platform-checks.ts';
import { openPullScene, PULL_CHECKS } from './pull-checks.ts';
import { REGISTRY_CHECKS } from './registry-checks.ts';
import { REGISTRY_CONTENT_CHECKS } from './registry-content-checks.ts';
import { openRegistryScene } from './registry-scene.ts';
import { S3_BUCKET_CHECKS } from './s3-bucket-checks.ts';
import { S3_OBJECT_CHECKS } from './s3-object-checks.ts';
import { openS3Scene } from './s3-scene.ts';
import { S3_UPLOAD_CHECKS } from './s3-upload-checks.ts';
import { openSfnScene, SFN_CHECKS } from './sfn-checks.ts';

/**
 * Every check, in the order of the report. The pulls come before the registry endpoint's, which need an image that is complete,
 * and before the workflow's own, which need an execution that has ended.
 */
export const CHECK_GROUPS: readonly CheckGroup[] = [
  checkGroup('api', API_CHECKS, openApiScene),
  checkGroup('pull', PULL_CHECKS, openPullScene),
  checkGroup('registry', [...REGISTRY_CHECKS, ...REGISTRY_CONTENT_CHECKS], openRegistryScene),
  checkGroup('s3', [...S3_OBJECT_CHECKS, ...S3_UPLOAD_CHECKS, ...S3_BUCKET_CHECKS], openS3Scene),
  checkGroup('dynamo', [...DYNAMO_ROW_CHECKS, ...DYNAMO_TABLE_CHECKS], openDynamoScene),
  checkGroup('sfn', SFN_CHECKS, openSfnScene),
  checkGroup('events', EVENTS_CHECKS, openEventsScene),
  checkGroup('platform', PLATFORM_CHECKS, openPlatformScene),
];
