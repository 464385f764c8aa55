/*
 * A process that takes a lease, gives it back, and has nothing else to do: it must end by itself.
 *
 *   node hold-lease-and-exit.ts ENDPOINT REGION KEY SECRET TABLE NAME
 */
import { dynamoClient } from '../../lib/table/dynamo-client.ts';
import { acquire } from '../../lib/lock/lease.ts';
import { dynamoLeases } from '../../lib/lock/dynamo-lease.ts';

const [endpoint = '', region = '', accessKeyId = '', secretAccessKey = '', table = '', name = ''] =
  process.argv.slice(2);
const client = dynamoClient({ endpoint, region, credentials: { accessKeyId, secretAccessKey } });
const lease = await acquire(dynamoLeases({ client, table, durationMs: 60_000 }), name, AbortSignal.timeout(10_000));
await lease[Symbol.asyncDispose]();
console.log(`generation ${lease.generation}`);
