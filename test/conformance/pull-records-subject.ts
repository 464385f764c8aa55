import { randomUUID } from 'node:crypto';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { dynamoPullRecords } from '../../lib/jobs/dynamo-pull-records.ts';
import type { PullFailure } from '../../lib/pull/failure.ts';
import type { Amount } from '../../lib/jobs/tasks.ts';
import type { PullRecords } from '../../lib/jobs/pull-record.ts';
import type { Fence } from '../../lib/lock/fence.ts';
import { digestOf } from '../../lib/oci/digest.ts';
import { parsePlatform } from '../../lib/oci/platform.ts';
import type { PullRequest } from '../../lib/pull/pull-request.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import type { TableUnderTest } from '../support/table-under-test.ts';

/** Records on a fresh way in to the table. */
export const recordsAt = (table: TableUnderTest, { client }: { client: DynamoDBClient }): PullRecords =>
  dynamoPullRecords({ client, table: table.table });

/** A request that no other test makes. */
export const freshRequest = (): PullRequest => requestOf(`registry.example.test/${randomUUID()}:v1`);

export const requestOf = (reference: string, platforms: readonly string[] = []): PullRequest => ({
  reference: parseReference(reference),
  platforms: platforms.map((text) => parsePlatform(text)),
  alwaysPull: false,
  attestations: true,
});

export const fenceOf = (name: string): Fence => ({ name: `pull:${name}`, holder: randomUUID(), generation: 7 });

export const amount = (blobs: number, bytes: number): Amount => ({ blobs, bytes });

export const DENIED: PullFailure = {
  name: 'DeniedError',
  message: 'the registry refused us',
  code: 'DENIED',
  status: 403,
  retryable: false,
};

const tally = (total: number) => ({ total, present: 0, copied: total, copiedElsewhere: 0 });

export const receiptOf = ({ reference }: PullRequest, more: Partial<Receipt> = {}): Receipt => ({
  reference: reference.repository.path,
  digest: digestOf(Buffer.from('root')),
  mediaType: 'application/vnd.oci.image.index.v1+json',
  outcome: 'pulled',
  platforms: [],
  blobs: tally(3),
  bytes: tally(300),
  registryRequests: { total: 4, ping: 0, token: 0, manifest: 1, blob: 3, redirected: 0 },
  skipped: [],
  durationMs: 12,
  ...more,
});
