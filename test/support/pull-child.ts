/*
 * A process that pulls: prints `ready`, then for each line `{"reference", "platforms", "times"}` on stdin pulls `times` times
 * at once and prints the receipts, or errors, as one line of JSON.
 * Configured by its environment alone, as a Lambda is; its argument, if any, is JSON of how the store is reached otherwise.
 */
import { createInterface } from 'node:readline';
import { loadConfig } from '../../lib/config/config.ts';
import { CacheError } from '../../lib/errors/cache-error.ts';
import { parsePlatform } from '../../lib/oci/platform.ts';
import { pull } from '../../lib/pull/pull.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { openServices, type StoreConnection } from '../../lib/services.ts';

export interface ChildRequest {
  readonly reference: string;
  readonly platforms?: readonly string[];
  /** Default: 1. */
  readonly times?: number;
}

const config = loadConfig();
if (config.store.kind !== 'aws') throw new Error('the child needs ENTREPOT_BUCKET and ENTREPOT_TABLE');
const [, , otherwise = '{}'] = process.argv;
await using services = openServices(config, {
  ...config.store,
  ...(JSON.parse(otherwise) as Partial<StoreConnection>),
});
// The parent is gone: do not wait for a lease, or for a registry that died with it.
process.stdin.once('end', () => process.exit(1));
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line) as ChildRequest;
  const answers = await Promise.all(Array.from({ length: asked.times ?? 1 }, () => answer(asked)));
  console.log(JSON.stringify(answers));
}

async function answer({ reference, platforms = [] }: ChildRequest): Promise<unknown> {
  try {
    const request = {
      reference: parseReference(reference),
      platforms: platforms.map((text) => parsePlatform(text)),
      alwaysPull: false,
      attestations: true,
    };
    return await pull(services.pull, request, new AbortController().signal);
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    return { error: { name: error.name, message: error.message } };
  }
}
