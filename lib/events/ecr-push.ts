import type { EventSettings } from '../config/config.ts';
import { InvalidRequestError } from '../errors/cache-error.ts';
import { globs } from '../reference/globs.ts';
import { parseTag, type Reference } from '../reference/reference.ts';
import { allowOf, parseEcrHost, type RegistrySettings } from '../registry/settings.ts';

/** What was pushed to ECR, or why it is none of our business. */
export type EcrPush = { readonly reference: Reference } | { readonly ignored: string };

interface EcrRules {
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly events: Pick<EventSettings, 'ecrPushes'>;
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether the event speaks of Amazon ECR: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html */
export const isEcrEvent = (event: unknown): event is Readonly<Record<string, unknown>> =>
  isMap(event) && event.source === 'aws.ecr';

/**
 * The tag that was pushed, if its repository is listed in `events.ecrPushes` and its registry configured and allowed.
 *
 * A push without a tag is ignored: it is a manifest below an index, which has a push of its own when all of it is there.
 *
 * @throws InvalidRequestError if the event is not what ECR sends.
 */
export function parseEcrPush({ registries, events }: EcrRules, event: Readonly<Record<string, unknown>>): EcrPush {
  const { account, region } = event;
  const detail = isMap(event.detail) ? event.detail : {};
  const { 'repository-name': path, 'image-tag': tag } = detail;
  if (detail['action-type'] !== 'PUSH' || detail.result !== 'SUCCESS') return { ignored: 'no push that succeeded' };
  if (typeof path !== 'string' || typeof account !== 'string' || typeof region !== 'string') {
    throw new InvalidRequestError('detail', 'an event of ECR has "account", "region" and "detail.repository-name"');
  }
  if (tag === undefined || tag === '') return { ignored: 'pushed without a tag' };
  if (typeof tag !== 'string') throw new InvalidRequestError('detail.image-tag', '"detail.image-tag" is not text');

  if (!globs(events.ecrPushes)(path)) return { ignored: `${path} is not in "events.ecrPushes"` };
  const settings = [...registries.values()].find(({ name }) => {
    const host = parseEcrHost(name);
    return host?.accountId === account && host.region === region;
  });
  if (settings === undefined) return { ignored: `no ECR registry of ${account} in ${region} is configured` };
  if (!allowOf(settings)(path)) return { ignored: `${path} is not allowed by registry ${settings.name}` };
  return { reference: { repository: { registry: settings.name, path }, tag: parseTag(tag) } };
}
