import { lambdaHandler } from '../lib/lambda/handler.ts';
import { answerLanding } from '../lib/serve/landing-document.ts';
import { upstreamLanding } from '../lib/serve/upstream-landing.ts';

/** Asks registries for functions/registry.ts, with their credentials, and lands the manifests that they answer: see {@link Landing}. */
export const handler = lambdaHandler((event, { services: { pull }, metrics, logger, signal }) =>
  answerLanding(upstreamLanding(pull), event, { signal, logger, metrics }, pull.requireAllowed),
);
