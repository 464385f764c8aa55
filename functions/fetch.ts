import { lambdaHandler } from '../lib/lambda/handler.ts';
import { answerFetch } from '../lib/serve/fetch-document.ts';
import { upstreamFetcher } from '../lib/serve/upstream-fetcher.ts';

/** Asks registries for functions/registry.ts, with their credentials, and stores the manifests: see lib/serve/fetcher.ts. */
export const handler = lambdaHandler((event, { services: { pull }, metrics, logger, signal }) =>
  answerFetch(upstreamFetcher(pull), event, { signal, logger, metrics }, pull.requireAllowed),
);
