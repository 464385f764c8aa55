import { randomUUID } from 'node:crypto';
import { sleep } from '../async/time.ts';
import { formatRepository, parseReference } from '../reference/reference.ts';
import { documentOf, openApiFixture, shown, type ApiFixture } from './api-checks.ts';
import { must, SkipError, type Check } from './check.ts';
import type { HttpAnswer } from './sigv4-requests.ts';
import { askApi, type Target } from './target.ts';

/** The API gives up after 30 s; whoever asks must have heard from us by then. */
const ANSWER_MS = 29_000;
const BETWEEN_LOOKS_MS = 250;

/** The target with an image that may be pulled. */
type PullFixture = ApiFixture & { readonly image: string };

/** @returns why, where no image was named. */
export function openPullFixture(target: Target): PullFixture | SkipError {
  const { image } = target;
  return image === undefined
    ? new SkipError('give --image with an image that may be pulled')
    : { ...openApiFixture(target), image };
}

function pull(scene: PullFixture, asked: object, prefer: string | undefined, signal: AbortSignal): Promise<HttpAnswer> {
  const headers = prefer === undefined ? {} : { prefer };
  return askApi(scene, { method: 'POST', path: '/v1/pull', headers, body: JSON.stringify(asked) }, signal);
}

/** The document of the pull as soon as it has ended. */
async function ended(scene: PullFixture, location: string, signal: AbortSignal): Promise<Record<string, unknown>> {
  for (;;) {
    const answer = await askApi(scene, { path: location }, signal);
    must(answer.status === 200, `GET ${location}: ${shown(answer)}`);
    const document = documentOf(answer);
    if (document.state === 'succeeded' || document.state === 'failed') return document;
    await sleep(BETWEEN_LOOKS_MS, signal);
  }
}

async function endOfPull(scene: PullFixture, asked: object, signal: AbortSignal): Promise<Record<string, unknown>> {
  const answer = await pull(scene, asked, 'wait=0', signal);
  const location = answer.headers.get('location');
  must(answer.status === 202 && location?.startsWith('/v1/pulls/') === true, `POST /v1/pull: ${shown(answer)}`);
  return await ended(scene, location, signal);
}

/** The whole way of one image, end to end. */
export const PULL_CHECKS: readonly Check<PullFixture>[] = [
  {
    id: 'pull-workflow',
    claim: 'a pull goes through the workflow, with the rights that its functions have, to a receipt',
    async run(scene, signal) {
      const { id, state, receipt, error } = await endOfPull(
        scene,
        { reference: scene.image, alwaysPull: true },
        signal,
      );
      must(state === 'succeeded', `pull ${String(id)} ${String(state)}: ${JSON.stringify(error)}`);
      const { outcome, durationMs } = receipt as { outcome: string; durationMs: number };
      return `pull ${String(id)}: ${outcome} in ${durationMs} ms`;
    },
  },
  {
    id: 'pull-hit',
    claim: 'what was pulled is a hit',
    async run(scene, signal) {
      const answer = await pull(scene, { reference: scene.image }, undefined, signal);
      must(answer.status === 200 && documentOf(answer).outcome === 'hit', shown(answer));
      return `hit, answered after ${Math.round(answer.durationMs)} ms`;
    },
  },
  {
    id: 'pull-wait',
    claim: `who waits for a pull is answered within ${ANSWER_MS / 1000} s, before API Gateway gives up`,
    async run(scene, signal) {
      const answer = await pull(scene, { reference: scene.image, alwaysPull: true }, undefined, signal);
      const seen = `${answer.status} after ${Math.round(answer.durationMs)} ms`;
      must([200, 202].includes(answer.status) && answer.durationMs < ANSWER_MS, `${seen}: ${shown(answer)}`);
      return seen;
    },
  },
  {
    id: 'pull-failure',
    claim: 'what a task throws reaches the last task by its name, and the caller as a problem',
    async run(scene, signal) {
      const { repository } = parseReference(scene.image);
      const reference = `${formatRepository(repository)}:doctor-${randomUUID()}`;
      const { id, state, error } = await endOfPull(scene, { reference }, signal);
      const { status, detail } = (error ?? {}) as { status?: number; detail?: string };
      const seen = `pull ${String(id)} of a tag that is not there ${String(state)}: ${status ?? 'no status'} ${detail ?? ''}`;
      must(state === 'failed' && status === 404, seen);
      return seen;
    },
  },
];
