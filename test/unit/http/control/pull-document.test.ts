import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pullSchema } from '../../../../lib/http/control/answer-schemas.ts';
import { problemOfFailure, pullDocument } from '../../../../lib/http/control/pulls.ts';
import type { PullRecord } from '../../../../lib/jobs/pull-record.ts';
import { parsePlatform } from '../../../../lib/oci/platform.ts';
import { parseReference } from '../../../../lib/reference/reference.ts';

const ID = '00000000-0000-4000-8000-000000000001';
const QUEUED: PullRecord = {
  id: ID,
  request: {
    reference: parseReference('alpine'),
    platforms: [parsePlatform('linux/arm64/v8')],
    alwaysPull: false,
    attestations: true,
  },
  state: 'queued',
  createdMs: 1_000,
  askedMs: 1_000,
  updatedMs: 2_000,
  plans: 0,
  copied: { blobs: 0, bytes: 0 },
};

test('a pull that was written down', () => {
  const document = pullDocument(QUEUED, 3_000);
  pullSchema.parse(document);
  assert.deepEqual(document, {
    id: ID,
    state: 'queued',
    reference: 'docker.io/library/alpine:latest',
    platforms: ['linux/arm64'],
    alwaysPull: false,
    attestations: true,
    progress: null,
    receipt: null,
    error: null,
    createdAt: '1970-01-01T00:00:01.000Z',
    startedAt: null,
    updatedAt: '1970-01-01T00:00:02.000Z',
    endedAt: null,
  });
});

test('a pull that copies says how far it is', () => {
  const running: PullRecord = {
    ...QUEUED,
    state: 'running',
    startedMs: 1_500,
    plannedMs: 2_000,
    planned: { total: { blobs: 5, bytes: 500 }, missing: { blobs: 4, bytes: 400 } },
    copied: { blobs: 1, bytes: 100 },
  };
  const document = pullDocument(running, 4_000);
  pullSchema.parse(document);
  assert.deepEqual(document.progress, {
    blobs: { total: 5, missing: 4, done: 1 },
    bytes: { total: 500, missing: 400, done: 100 },
    bytesPerSecond: 50,
    etaSeconds: 6,
  });
});

describe('why a pull failed', () => {
  const failure = { name: 'DeniedError', message: 'no', code: 'DENIED', status: 403, retryable: false } as const;

  test('is told as problem details', () => {
    const document = pullDocument({ ...QUEUED, state: 'failed', endedMs: 5_000, failure }, 9_000);
    pullSchema.parse(document);
    assert.deepEqual(document.error, {
      type: 'about:blank',
      title: 'Forbidden',
      status: 403,
      detail: 'no',
      code: 'DENIED',
      instance: `/v1/pulls/${ID}`,
      retryable: false,
    });
  });

  test('is never told as a success, whatever the row says', () => {
    for (const status of [200, 0, 301, 600, Number.NaN]) {
      assert.equal(problemOfFailure({ ...failure, status }, ID).status, 500);
    }
  });
});
