import { STATUS_CODES } from 'node:http';
import { progressOf, type PullRecord } from '../jobs/pull-record.ts';
import type { PullFailure } from '../pull/failure.ts';
import { formatPlatform } from '../oci/platform.ts';
import { formatReference } from '../reference/reference.ts';
import type { Problem } from './problem.ts';
import type { DocumentOf, pullSchema } from './answer-schemas.ts';

/** Problem details of a pull that failed: of no request in particular. */
export type PullProblem = Omit<Problem, 'requestId'>;

/** One pull, as `GET /v1/pulls/{id}` answers it. */
export type PullDocument = DocumentOf<typeof pullSchema>;

export const pathOfPull = (id: string): string => `/v1/pulls/${id}`;

/** The pull as it stands at `nowMs`. */
export function pullDocument(record: PullRecord, nowMs: number): PullDocument {
  const { id, state, request, receipt, failure } = record;
  return {
    id,
    state,
    reference: formatReference(request.reference),
    platforms: request.platforms.map(formatPlatform),
    alwaysPull: request.alwaysPull,
    attestations: request.attestations,
    progress: progressDocument(record, nowMs),
    receipt: receipt ?? null,
    error: failure === undefined ? null : problemOfFailure(failure, id),
    createdAt: new Date(record.createdMs).toISOString(),
    startedAt: isoOf(record.startedMs),
    updatedAt: new Date(record.updatedMs).toISOString(),
    endedAt: isoOf(record.endedMs),
  };
}

const isoOf = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

function progressDocument(record: PullRecord, nowMs: number): PullDocument['progress'] {
  const progress = progressOf(record, nowMs);
  if (progress === undefined) return null;
  const { total, missing, copied, bytesPerSecond, etaSeconds } = progress;
  return {
    blobs: { total: total.blobs, missing: missing.blobs, done: copied.blobs },
    bytes: { total: total.bytes, missing: missing.bytes, done: copied.bytes },
    bytesPerSecond,
    etaSeconds,
  };
}

/** Why a pull failed, as problem details that name it. */
export function problemOfFailure(failure: PullFailure, id: string): PullProblem {
  const status = failure.status >= 400 && failure.status <= 599 ? failure.status : 500;
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail: failure.message,
    ...(failure.code === undefined ? {} : { code: failure.code }),
    instance: pathOfPull(id),
    retryable: failure.retryable,
  };
}
