import type { RegistryAnswer } from '../../../lib/http/registry/open-registry.ts';
import { answerRegistry, type RegistryApi } from '../../../lib/http/registry/registry-api.ts';
import type { Fetcher } from '../../../lib/serve/fetcher.ts';
import { type ServeCall, serving } from '../../../lib/serve/serving.ts';
import type { ServeSettings } from '../../../lib/serve/settings.ts';
import { upstreamFetcher } from '../../../lib/serve/upstream-fetcher.ts';
import { processWaitingRoom } from '../../../lib/serve/waiting-room.ts';
import { forever } from '../../support/table-under-test.ts';
import type { ServeBench } from './serve-bench.ts';

export interface DoorOptions {
  /** What the door carries. */
  readonly bodyBytes?: number;
  /** Who asks the registries; without it this process. */
  readonly fetcher?: Fetcher;
  /** Of the section `serve`: what is another than the bench's. */
  readonly serve?: Partial<ServeSettings>;
  /** Of the waiting room. */
  readonly seats?: number;
}

/** One more process that serves, behind a door of a test's own: a request, whose path may have a query, and its answer. */
export function doorOf(
  { services: { config, records, presigner, pull }, jobs }: Pick<ServeBench, 'services' | 'jobs'>,
  { bodyBytes = Infinity, fetcher: fetcher = upstreamFetcher(pull), serve = {}, seats = 1 }: DoorOptions,
): (method: string, path: string) => Promise<RegistryAnswer> {
  const api: RegistryApi = {
    serving: serving({
      ...pull,
      fetcher: fetcher,
      waitingRoom: processWaitingRoom(seats),
      settings: { ...config.serve, ...serve },
      jobs,
      records,
      presigner,
      passRedirects: (registry) => config.registries.get(registry)?.passRedirects ?? [],
    }),
    authenticator: { challenge: undefined, admit: () => Promise.resolve({ name: 'anyone', mayUse: () => true }) },
    registries: config.registries,
  };
  return (method, target) => {
    const [path = '', query = ''] = target.split('?');
    const request = { method, path, query, header: () => undefined };
    return answerRegistry(api, { request, limits: { bodyBytes } }, quietCall);
  };
}

const nothing = (): undefined => undefined;

/** A call that nobody ends, and that tells nobody. */
export const quietCall: ServeCall = {
  signal: forever,
  logger: { debug: nothing, info: nothing, warn: nothing, error: nothing, keep: nothing },
  metrics: { add: nothing },
};
