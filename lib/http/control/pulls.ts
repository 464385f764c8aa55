import { STATUS_CODES } from 'node:http';
import { checkMayUse } from '../../access/access.ts';
import { startDeadline } from '../../async/time.ts';
import { waitForEnd } from '../../jobs/jobs.ts';
import { progressOf, type PullRecord } from '../../jobs/pull-record.ts';
import { formatPlatform } from '../../oci/platform.ts';
import type { PullFailure } from '../../pull/failure.ts';
import { findHit } from '../../pull/hit.ts';
import { formatReference } from '../../reference/reference.ts';
import { jsonAnswer } from '../http-event.ts';
import { HttpError, type Problem, problemDocument, retryAfterSecondsOf } from '../problem.ts';
import type { DocumentOf, pullSchema } from './answer-schemas.ts';
import type { Answer, ApiCall, ApiDeps } from './control-api.ts';
import { parsePullBody } from './requests.ts';

/** `wait = 10`, `wait="10"`; parameters after a ";" are ignored, and so are numbers of more digits. */
const WAIT = /^wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?$/i;

/**
 * How long the caller prefers to wait, in seconds, by the header `Prefer` (https://www.rfc-editor.org/rfc/rfc7240). The first `wait` counts; undefined where
 * there is no valid one: a preference is never an error.
 */
export function preferredWaitSeconds(prefer: string | undefined): number | undefined {
  const first = (prefer ?? '').split(',').find((one) => /^\s*wait\b/i.test(one));
  const match = first === undefined ? null : WAIT.exec(first.trim());
  const digits = match?.[1] ?? match?.[2];
  return digits === undefined ? undefined : Number(digits);
}

/** Problem details of a failed pull, without the id of a request. */
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

/** From the arrival of the request to its answer: an HTTP API gives up after 30 s. */
const MOST_SECONDS = 20;
/** `Retry-After` of a running pull. */
const LATER_SECONDS = { least: 1, usual: 2, most: 30 };

/**
 * `POST /v1/pull`: a hit at once, from the catalogue; else starts or joins a pull of the workflow, and waits for it as long as the caller prefers.
 *
 * 200 with the receipt, 202 with the running pull, or its failure.
 */
export async function postPull(deps: ApiDeps, call: ApiCall): Promise<Answer> {
  const wanted = preferredWaitSeconds(call.request.header('prefer'));
  const waitSeconds = Math.min(wanted ?? MOST_SECONDS, MOST_SECONDS);
  const preferenceApplied = wanted === undefined ? {} : { 'preference-applied': `wait=${waitSeconds}` };
  using wait = startDeadline(waitSeconds * 1000);
  using limit = startDeadline(MOST_SECONDS * 1000);
  const signal = AbortSignal.any([limit.signal, call.signal]);

  const request = parsePullBody(call.request.body());
  checkMayUse(call.access, request.reference.repository);
  const hit = await findHit(deps, request, signal);
  if (hit !== undefined) {
    call.metrics.add('Hits', 1);
    call.metrics.add('BytesSaved', hit.bytes.present);
    return jsonAnswer(200, hit, preferenceApplied);
  }

  // Also with a short wait the pull is started, or its failure answered.
  const record = await deps.jobs.start(request, signal);
  call.logger.keep({ pullId: record.id });
  const last = await waitForEnd(deps.records, record, AbortSignal.any([signal, wait.signal]));
  if (last.receipt !== undefined) return jsonAnswer(200, last.receipt, preferenceApplied);
  if (last.failure !== undefined) return failureAnswer(last, last.failure, call.requestId, preferenceApplied);
  return acceptedAnswer(last, preferenceApplied);
}

type Headers = Readonly<Record<string, string>>;

function failureAnswer({ id }: PullRecord, failure: PullFailure, requestId: string, headers: Headers): Answer {
  const problem = problemOfFailure(failure, id);
  return problemDocument({ ...problem, requestId }, retryAfterSecondsOf(problem.status, failure.retryAfterMs), headers);
}

function acceptedAnswer(record: PullRecord, headers: Headers): Answer {
  const pull = pullDocument(record, Date.now());
  const { least, usual, most } = LATER_SECONDS;
  const laterSeconds = Math.min(Math.max(pull.progress?.etaSeconds ?? usual, least), most);
  return jsonAnswer(202, pull, { location: pathOfPull(record.id), 'retry-after': String(laterSeconds), ...headers });
}

/** The form of ids; any other text is not looked up. */
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** `GET /v1/pulls/{id}`. A pull of a repository that the caller may not use is answered like one that does not exist. */
export async function findPull(deps: ApiDeps, { id, access, logger, signal }: ApiCall): Promise<Answer> {
  const record = UUID.test(id) ? await deps.records.find(id, signal) : undefined;
  if (record === undefined || !access.mayUse(record.request.reference.repository)) {
    throw new HttpError(404, 'there is no pull of this id; records of pulls are deleted some days after their end');
  }
  logger.keep({ pullId: record.id });
  return jsonAnswer(200, pullDocument(record, Date.now()));
}
