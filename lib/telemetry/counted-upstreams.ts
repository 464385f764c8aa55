import { CredentialsError } from '../errors/cache-error.ts';
import type { Upstream, Upstreams } from '../registry/upstream.ts';
import type { Metrics } from './telemetry.ts';

/** Upstreams that count their requests and refusals. */
export interface CountedUpstreams extends Pick<Upstreams, 'open'> {
  /** Adds the counts to the metrics. Call it once, after the last request. */
  report(): void;
}

/** Counts the requests of every opened upstream, also if the call fails later. */
export function countedUpstreams(upstreams: Pick<Upstreams, 'open'>, metrics: Metrics): CountedUpstreams {
  const opened: Pick<Upstream, 'requests' | 'refusals'>[] = [];
  let unreadable = 0;
  return {
    async open(repository, signal) {
      try {
        const upstream = await upstreams.open(repository, signal);
        opened.push(upstream);
        return upstream;
      } catch (error) {
        if (error instanceof CredentialsError) unreadable++;
        throw error;
      }
    },
    report() {
      const counted = {
        RegistryRequests: opened.reduce((sum, { requests }) => sum + requests.total, 0),
        RateLimited: opened.reduce((sum, { refusals }) => sum + refusals.rateLimited, 0),
        CredentialsRejected: opened.reduce((sum, { refusals }) => sum + refusals.credentialsRefused, unreadable),
      };
      for (const [name, count] of Object.entries(counted))
        if (count > 0) metrics.add(name as keyof typeof counted, count);
    },
  };
}
