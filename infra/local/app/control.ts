import type { Activity } from './activity.ts';
import type { EventBus } from './event-bus.ts';
import type { Functions } from './functions.ts';
import { type GatewayAnswer, gatewayMessage } from './gateway.ts';
import type { Scheduler } from './scheduler.ts';
import type { Control } from './endpoint.ts';

const FIRE = /^\/_local\/schedules\/([^/]+)$/;

/**
 * Inspects and controls the application:
 *
 *   GET  /_local/functions          running environments
 *   GET  /_local/schedules          schedules and their next times
 *   POST /_local/schedules/{name}   fires one now
 *   GET  /_local/events             the last events of the bus
 *   GET  /_local/requests           the last requests of the HTTP API, as they came
 *   GET  /_local/runs               the last executions of the state machine
 *   GET  /_local/warmups            the last runs of warm-ups
 */
export function controlOf(functions: Functions, scheduler: Scheduler, bus: EventBus, activity: Activity): Control {
  const views: Readonly<Record<string, () => unknown>> = {
    '/_local/functions': () => ({ environments: functions.environments() }),
    '/_local/schedules': () => ({ schedules: scheduler.schedules() }),
    '/_local/events': () => ({ events: bus.recent() }),
    '/_local/requests': () => ({ requests: activity.recent('requests') }),
    '/_local/runs': () => ({ runs: activity.recent('runs') }),
    '/_local/warmups': () => ({ warmups: activity.recent('warmups') }),
  };
  return (method, path) => {
    const name = FIRE.exec(path)?.[1];
    if (method === 'GET' && views[path] !== undefined) return json(200, views[path]());
    if (method !== 'POST' || name === undefined) return undefined;
    const scheduledTime = scheduler.fire(name);
    return scheduledTime === undefined
      ? gatewayMessage(404, `there is no schedule ${name}; GET /_local/schedules lists them`)
      : json(202, { schedule: name, scheduledTime });
  };
}

const json = (status: number, document: unknown): GatewayAnswer => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from(JSON.stringify(document)),
});
