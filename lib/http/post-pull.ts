import { checkMayUse } from '../access/access.ts';
import type { PullFailure } from '../pull/failure.ts';
import type { PullRecord } from '../jobs/pull-record.ts';
import { waitForEnd } from '../jobs/jobs.ts';
import { findHit } from '../pull/hit.ts';
import type { ApiCall, Answer, ApiDeps } from './api-call.ts';
import { startDeadline } from '../async/time.ts';
import { jsonAnswer } from './http-event.ts';
import { preferredWaitSeconds } from './prefer.ts';
import { problemDocument } from './problem-answer.ts';
import { retryAfterSecondsOf } from './problem.ts';
import { parsePullBody } from './request.ts';

/** From the arrival of the request to its answer, whatever is slow: an HTTP API gives up after 30 s. */
const MOST_SECONDS = 20;
/** Of `Retry-After` of a pull that goes on. */
const LATER_SECONDS = { least: 1, usual: 2, most: 30 };

/**
 * `POST /v1/pull`: a hit at once, from the catalogue alone; else the pull of the workflow, joined or started, as far as it is within the wait.
 *
 * 200 with the receipt, 202 with the pull that goes on, or its failure.
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

  // However short the wait: what is asked for is started, or the caller hears that it is not.
  const record = await deps.jobs.start(request, signal);
  call.logger.keep({ pullId: record.id });
  const last = await waitForEnd(deps.records, record, AbortSignal.any([signal, wait.signal]));
  if (last.receipt !== undefined) return jsonAnswer(200, last.receipt, preferenceApplied);
  if (last.failure !== undefined) return await failureAnswer(last, last.failure, call.requestId, preferenceApplied);
  return await acceptedAnswer(last, preferenceApplied);
}

type Headers = Readonly<Record<string, string>>;

async function failureAnswer(
  { id }: PullRecord,
  failure: PullFailure,
  requestId: string,
  headers: Headers,
): Promise<Answer> {
  const { problemOfFailure } = await import('./pull-document.ts');
  const problem = problemOfFailure(failure, id);
  return problemDocument({ ...problem, requestId }, retryAfterSecondsOf(problem.status, failure.retryAfterMs), headers);
}

async function acceptedAnswer(record: PullRecord, headers: Headers): Promise<Answer> {
  const { pathOfPull, pullDocument } = await import('./pull-document.ts');
  const pull = pullDocument(record, Date.now());
  const { least, usual, most } = LATER_SECONDS;
  const laterSeconds = Math.min(Math.max(pull.progress?.etaSeconds ?? usual, least), most);
  return jsonAnswer(202, pull, { location: pathOfPull(record.id), 'retry-after': String(laterSeconds), ...headers });
}
