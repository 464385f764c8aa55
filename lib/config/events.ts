import * as z from 'zod';
import { parseEcrHost } from '../registry/settings.ts';
import type { EventSettings } from './config.ts';
import type { Problems } from './problems.ts';
import { parsePattern } from './schema.ts';
import { issuesOf, list, parsed, strictMap, text } from './schema-parts.ts';

const schema = z.strictObject(
  {
    ecrPushes: list(parsed('a repository pattern', parsePattern), '["team/**"]').default([]),
    senders: list(
      text('an AWS account').regex(/^\d{12}$/, 'is not an AWS account; write its 12 digits, in quotes'),
      '["123456789012"]',
    ).default([]),
  },
  strictMap,
);

/** The section `events`, checked; problems go to `found`. `registries` are the names that the file configures. */
export function eventsOf(section: unknown, registries: ReadonlySet<string>, found: Problems): EventSettings {
  const outcome = schema.safeParse(section ?? {});
  if (!outcome.success) {
    for (const { path, message } of issuesOf(outcome.error, Object.keys(schema.shape))) {
      found.add(['events', ...path], message);
    }
    return { ecrPushes: [], senders: [] };
  }
  const hasEcr = [...registries].some((name) => parseEcrHost(name) !== undefined);
  if (outcome.data.ecrPushes.length > 0 && !hasEcr) {
    found.add(
      ['events', 'ecrPushes'],
      'has no effect without an ECR registry; add <account>.dkr.ecr.<region>.amazonaws.com to "registries"',
    );
  }
  return outcome.data;
}
