import { lambdaHandler, workMsOf } from '../lib/lambda/handler.ts';
import { describedError } from '../lib/telemetry/logger.ts';
import { runWarmup } from '../lib/warmup/run-warmup.ts';
import { parseWarmupEvent } from '../lib/warmup/warmup-settings.ts';

/** Invoked by a schedule of EventBridge Scheduler with the warm-up to run: see {@link runWarmup}. The same run may come twice. */
export const handler = lambdaHandler(async (event, invocation) => {
  const { services, metrics, logger, signal } = invocation;
  const { config, catalog, jobs, records, warmupRuns: runs, announcer, pull } = services;
  const { upstreams, defaultPlatforms, leases } = pull;
  const { settings, scheduledTime } = parseWarmupEvent(event, config.warmups);
  const run = { warmup: settings.name, scheduledTime };
  logger.keep(run);
  const failed = (entry: string, error: unknown): void =>
    logger.warn('an image was not warmed up', { entry, error: describedError(error) });
  const deps = { catalog, upstreams, jobs, records, leases, runs, announcer, defaultPlatforms, metrics, failed };
  const endsAtMs = Date.now() + workMsOf(invocation.remainingMs(), false);
  const summary = await runWarmup(deps, settings, scheduledTime, { signal, endsAtMs });
  if (summary === undefined) {
    logger.info('another process runs this warm-up');
    return { ...run, outcome: 'runs elsewhere' };
  }
  const { checked, unchanged, pulls, failures } = summary;
  logger.info('the warm-up has run', { checked, unchanged, pulls: pulls.length, failures: failures.length });
  return summary;
});
