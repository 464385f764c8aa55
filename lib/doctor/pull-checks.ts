import { randomUUID } from 'node:crypto';
import { sleep } from '../async/time.ts';
import { formatRepository, parseReference } from '../reference/reference.ts';
import { documentOf, openApiFixture, shown, type ApiFixture } from './api-checks.ts';
import { must, SkipError, type Check } from './check.ts';
import type { HttpAnswer } from './sigv4-requests.ts';
import { askApi, type Target } from './target.ts';

/** API Gateway times out after 30 s, so the function must answer before. */
const ANSWER_MS = 29_000;
const BETWEEN_LOOKS_MS = 250;

/** The target with an image to pull. */
type PullFixture = ApiFixture & { readonly image: string };

/** @returns SkipError without --image. */
export function openPullFixture(target: Target): PullFixture | SkipError {
  const { image } = target;
  return image === undefined
    ? new SkipError('give --image with an image to pull')
    : { ...openApiFixture(target), image };
}

function pull(
  fixture: PullFixture,
  asked: object,
  prefer: string | undefined,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const headers = prefer === undefined ? {} : { prefer };
  return askApi(fixture, { method: 'POST', path: '/v1/pull', headers, body: JSON.stringify(asked) }, signal);
}

/** The document of the pull as soon as it has ended. */
async function ended(fixture: PullFixture, location: string, signal: AbortSignal): Promise<Record<string, unknown>> {
  for (;;) {
    const answer = await askApi(fixture, { path: location }, signal);
    must(answer.status === 200, `GET ${location}: ${shown(answer)}`);
    const document = documentOf(answer);
    if (document.state === 'succeeded' || document.state === 'failed') return document;
    await sleep(BETWEEN_LOOKS_MS, signal);
  }
}

async function endOfPull(fixture: PullFixture, asked: object, signal: AbortSignal): Promise<Record<string, unknown>> {
  const answer = await pull(fixture, asked, 'wait=0', signal);
  const location = answer.headers.get('location');
  must(answer.status === 202 && location?.startsWith('/v1/pulls/') === true, `POST /v1/pull: ${shown(answer)}`);
  return await ended(fixture, location, signal);
}

/** One pull, end to end. */
export const PULL_CHECKS: readonly Check<PullFixture>[] = [
  {
    id: 'pull-workflow',
    claim: 'a pull runs through the workflow, with the permissions of its functions, to a receipt',
    async run(fixture, signal) {
      const { id, state, receipt, error } = await endOfPull(
        fixture,
        { reference: fixture.image, alwaysPull: true },
        signal,
      );
      must(state === 'succeeded', `pull ${String(id)} ${String(state)}: ${JSON.stringify(error)}`);
      const { outcome, durationMs } = receipt as { outcome: string; durationMs: number };
      return `pull ${String(id)}: ${outcome} in ${durationMs} ms`;
    },
  },
  {
    id: 'pull-hit',
    claim: 'a pulled image is a hit',
    async run(fixture, signal) {
      const answer = await pull(fixture, { reference: fixture.image }, undefined, signal);
      must(answer.status === 200 && documentOf(answer).outcome === 'hit', shown(answer));
      return `hit, answered after ${Math.round(answer.durationMs)} ms`;
    },
  },
  {
    id: 'pull-wait',
    claim: `a caller that waits for a pull gets an answer within ${ANSWER_MS / 1000} s, before API Gateway times out`,
    async run(fixture, signal) {
      const answer = await pull(fixture, { reference: fixture.image, alwaysPull: true }, undefined, signal);
      const seen = `${answer.status} after ${Math.round(answer.durationMs)} ms`;
      must([200, 202].includes(answer.status) && answer.durationMs < ANSWER_MS, `${seen}: ${shown(answer)}`);
      return seen;
    },
  },
  {
    id: 'pull-failure',
    claim: 'the error of a task reaches the fail task by its name, and the caller as problem details',
    async run(fixture, signal) {
      const { repository } = parseReference(fixture.image);
      const reference = `${formatRepository(repository)}:doctor-${randomUUID()}`;
      const { id, state, error } = await endOfPull(fixture, { reference }, signal);
      const { status, detail } = (error ?? {}) as { status?: number; detail?: string };
      const seen = `pull ${String(id)} of a tag that is not there ${String(state)}: ${status ?? 'no status'} ${detail ?? ''}`;
      must(state === 'failed' && status === 404, seen);
      return seen;
    },
  },
];
