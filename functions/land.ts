import { lambdaHandler } from '../lib/lambda/handler.ts';
import { answerLanding } from '../lib/serve/fetch-document.ts';
import { upstreamLanding } from '../lib/serve/upstream-fetcher.ts';

/** Asks registries for functions/registry.ts, with their credentials, and lands the manifests that they answer: see {@link Landing}. */
export const handler = lambdaHandler((event, { services: { pull }, metrics, logger, signal }) =>
  answerLanding(upstreamLanding(pull), event, { signal, logger, metrics }, pull.requireAllowed),
);
