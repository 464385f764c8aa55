/*
 * node cold-start-child.js BUNDLE EVENT [trace]: imports the bundle and calls its handler with the event, as Lambda does in a fresh process. Writes the times,
 * or with `trace` the loaded files, as JSON to descriptor 3: the other streams belong to the function.
 *
 * JavaScript, because a TypeScript file would first load the compiler that strips its types.
 */
import { writeSync } from 'node:fs';
import { registerHooks } from 'node:module';

const [bundle, event, trace] = process.argv.slice(2);
const REMAINING_MS = 10_000;
const context = { awsRequestId: 'cold-start', getRemainingTimeInMillis: () => REMAINING_MS };

const loaded = [];
if (trace !== undefined) {
  registerHooks({
    load(url, options, next) {
      loaded.push(url);
      return next(url, options);
    },
  });
}

const cpu = process.cpuUsage();
const cpuMs = () => {
  const { user, system } = process.cpuUsage(cpu);
  return (user + system) / 1000;
};
const startedMs = performance.now();
const { handler } = await import(bundle);
const imported = { wallMs: performance.now() - startedMs, cpuMs: cpuMs() };
const answer = await handler(JSON.parse(event), context);
const answered = { wallMs: performance.now() - startedMs, cpuMs: cpuMs() };

writeSync(3, JSON.stringify({ imported, answered, answer, loaded }));
// The SDK keeps its connections open; Lambda would freeze the process.
process.exit(0);
