/*
 * Asks one server the same thing, again and again, over a fixed number of connections: each sends its next request when it has its answer. Reads a job as a
 * line of JSON, and prints what it saw as another.
 */
import { createInterface } from 'node:readline';
import { Pool } from 'undici';
import { LOAD_STEP_US, type Load, type LoadJob } from './load-job.ts';

async function load({ origin, path, headers, status, connections, forMs }: LoadJob): Promise<Load> {
  const pool = new Pool(origin, { connections, pipelining: 1 });
  /** How many answers took so many steps. */
  const counts = new Map<number, number>();
  let requests = 0;
  let errors = 0;
  const startedMs = performance.now();
  const loop = async (): Promise<void> => {
    while (performance.now() - startedMs < forMs) {
      const sentMs = performance.now();
      try {
        const answer = await pool.request({ method: 'GET', path, headers });
        await answer.body.dump();
        if (answer.statusCode !== status) errors++;
      } catch {
        errors++;
      }
      requests++;
      const step = Math.round(((performance.now() - sentMs) * 1_000) / LOAD_STEP_US);
      counts.set(step, (counts.get(step) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: connections }, loop));
  const wallMs = performance.now() - startedMs;
  await pool.close();
  return { requests, errors, wallMs, counts: [...counts] };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await load(JSON.parse(line) as LoadJob)));
}
