import type { Completeness, Roots } from '../catalog/ports.ts';
import { InvalidRequestError } from '../errors/cache-error.ts';
import { type Jobs, waitForEnd } from '../jobs/jobs.ts';
import { type PullRecord, type PullRecords, requestKey } from '../jobs/pull-record.ts';
import { coverage, wantedPlatforms } from '../pull/coverage.ts';
import { newPermits } from '../async/parallel.ts';
import type { PullDeps, PullRequest } from '../pull/pull-request.ts';
import { findKnown } from '../pull/whole.ts';
import { formatReference, formatRepository, type Reference, type Repository } from '../reference/reference.ts';
import type { Upstreams } from '../registry/upstream.ts';
import { countedUpstreams } from '../telemetry/counted-upstreams.ts';
import type { Metrics } from '../telemetry/telemetry.ts';
import { chooseTags } from './choose-tags.ts';
import { registryPace, type RegistryPace, type RunTime } from './registry-pace.ts';
import type { RunTally } from './warmup-runs.ts';
import type { WarmupEntry, WarmupSettings } from './warmup-settings.ts';

/** References of one run. Each costs a request to its registry, and a line of the summary. */
const MAX_REFERENCES = 1000;

export interface WarmUpDeps {
  readonly catalog: Roots & Completeness;
  readonly upstreams: Pick<Upstreams, 'open'>;
  readonly jobs: Jobs;
  readonly records: Pick<PullRecords, 'find'>;
  readonly defaultPlatforms: PullDeps['defaultPlatforms'];
  readonly metrics: Metrics;
  /** Called with every failure, for the log. */
  readonly failed: (entry: string, error: unknown) => void;
}

/**
 * Checks every entry, and starts pulls for what changed or is incomplete. Failures are tallied and stop nothing else. Never throws.
 *
 * Returns when all pulls have ended, or at the deadline: then unfinished pulls are tallied as running, and go on.
 */
export async function warmUp(
  outer: WarmUpDeps,
  settings: WarmupSettings,
  time: RunTime,
  tally: RunTally,
): Promise<void> {
  const pulls = newPermits(settings.parallel);
  const paces = new Map<string, RegistryPace>();
  const seen = new Set<string>();
  const upstreams = countedUpstreams(outer.upstreams, outer.metrics);
  const deps = { ...outer, upstreams };
  try {
    await Promise.all(settings.entries.map(warmEntry));
  } finally {
    upstreams.report();
  }

  function paceOf({ registry }: Repository): RegistryPace {
    const pace = paces.get(registry) ?? registryPace(registry, time);
    paces.set(registry, pace);
    return pace;
  }

  async function warmEntry(entry: WarmupEntry): Promise<void> {
    const { what } = entry;
    if (what.kind === 'reference') {
      await orTally(formatReference(what.reference), () => warmReferences([what.reference], entry));
    } else {
      await orTally(formatRepository(what.repository), async () => {
        const references = await paceOf(what.repository).run(() => referencesOf(deps, what, time.signal));
        await warmReferences(references, entry);
      });
    }
  }

  async function warmReferences(references: readonly Reference[], entry: WarmupEntry): Promise<void> {
    const { platforms, attestations } = entry;
    const requests = references.map((reference) => ({ reference, platforms, attestations, alwaysPull: true }));
    const fresh = requests.filter((request) => !seen.has(requestKey(request)));
    if (seen.size + fresh.length > MAX_REFERENCES) throw tooMany(references.length);
    for (const request of fresh) seen.add(requestKey(request));
    await Promise.all(
      fresh.map((request) => orTally(formatReference(request.reference), () => warmReference(request))),
    );
  }

  async function warmReference(request: PullRequest): Promise<void> {
    const pace = paceOf(request.reference.repository);
    if (await pace.run(() => isCurrent(deps, request, time.signal))) {
      tally.unchanged();
      return;
    }
    tally.changed();
    const record = await pullPaced(request, pace);
    const { id, state } = record;
    const outcome = state === 'succeeded' || state === 'failed' ? state : 'running';
    tally.pulled({ reference: formatReference(request.reference), id, outcome });
  }

  /** The pull, from its start to its end. A paused registry does not delay pulls from others. */
  async function pullPaced(request: PullRequest, pace: RegistryPace): Promise<PullRecord> {
    for (;;) {
      await pace.ready();
      const record = await pulls.run(async () => {
        if (pace.isPaused()) return undefined;
        time.signal.throwIfAborted();
        const ended = await waitForEnd(deps.records, await deps.jobs.start(request, time.signal), time.signal);
        // Before the permit is free for the next pull.
        if (ended.failure?.code === 'TOOMANYREQUESTS') pace.pause(ended.failure.retryAfterMs);
        return ended;
      });
      if (record !== undefined) return record;
    }
  }

  async function orTally(entry: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      deps.failed(entry, error);
      tally.failed(entry, error);
    }
  }
}

async function referencesOf(
  deps: WarmUpDeps,
  { repository, tags: rule }: WarmupEntry['what'] & { kind: 'repository' },
  signal: AbortSignal,
): Promise<readonly Reference[]> {
  const upstream = await deps.upstreams.open(repository, signal);
  const tags = await upstream.listTags(signal);
  const chosen = chooseTags(tags, rule);
  if (chosen.length > 0) return chosen.map((tag) => ({ repository, tag }));
  throw new InvalidRequestError(
    'tags',
    `the rule matches none of the ${tags.length} tags of ${formatRepository(repository)}; check its glob and semver`,
  );
}

/** Whether the cache has everything that the request wants of the image that the reference names now. Costs a HEAD. */
async function isCurrent(deps: WarmUpDeps, request: PullRequest, signal: AbortSignal): Promise<boolean> {
  const { reference } = request;
  const { repository } = reference;
  const upstream = await deps.upstreams.open(repository, signal);
  const { digest } = await upstream.resolve(reference, signal);
  const configured = deps.defaultPlatforms(repository.registry);
  const wanted = wantedPlatforms(request.platforms, configured, request.attestations);
  const found = await findKnown(deps, reference, wanted, { consistent: false, remember: true, signal });
  return found.pointer?.published === digest && coverage(found, wanted).complete;
}

const tooMany = (count: number): InvalidRequestError =>
  new InvalidRequestError(
    'tags',
    `its ${count} references and those of earlier entries are more than the ${MAX_REFERENCES} of one run; narrow it with "newest", or move it to another warm-up`,
  );
