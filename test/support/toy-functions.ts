import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFunctions, type Functions, type FunctionSpec } from '../../infra/local/app/functions.ts';
import { buildRuntime } from '../../infra/local/app/application.ts';

/** A handler that does what its event says. */
const TOY = `
import { appendFileSync } from 'node:fs';
let count = 0;
export async function handler(event, context) {
  count += 1;
  if (event.note) appendFileSync(event.note.file, event.note.text + '\\n');
  if (event.sleepMs) await new Promise((resolve) => setTimeout(resolve, event.sleepMs));
  if (event.exit !== undefined) process.exit(event.exit);
  if (event.fail) throw Object.assign(new Error(event.fail.message), { name: event.fail.name });
  if (event.bytes) return 'x'.repeat(event.bytes);
  if ('answer' in event) return event.answer;
  return { pid: process.pid, count, remainingMs: context.getRemainingTimeInMillis(), id: context.awsRequestId,
    name: context.functionName, arn: context.invokedFunctionArn, variable: process.env.TOY, event };
}`;

export interface ToyFunctions extends AsyncDisposable {
  readonly functions: Functions;
  readonly folder: string;
  /** Logs of the functions, and dead letters. */
  readonly logs: string;
}

/** One function for each name, all with the same toy handler; `source` replaces it. */
export async function startToys(
  specs: Readonly<Record<string, Partial<Pick<FunctionSpec, 'timeoutMs' | 'concurrency'>> & { source?: string }>>,
): Promise<ToyFunctions> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-toys-'));
  const logs = join(folder, 'logs');
  await mkdir(logs);
  const command = await buildRuntime(folder);
  const made = Object.entries(specs).map(async ([name, { source = TOY, ...spec }]): Promise<FunctionSpec> => {
    const taskRoot = join(folder, name);
    await mkdir(taskRoot);
    await writeFile(join(taskRoot, 'index.mjs'), source);
    return {
      name,
      arn: `arn:aws:lambda:us-east-1:000000000000:function:${name}`,
      command,
      variables: () => ({ PATH: process.env.PATH ?? '', TOY: name }),
      taskRoot,
      logs,
      memoryMiB: 128,
      timeoutMs: 20_000,
      concurrency: 1000,
      ...spec,
    };
  });
  const functions = startFunctions(await Promise.all(made));
  return {
    functions,
    folder,
    logs,
    async [Symbol.asyncDispose]() {
      await functions.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
