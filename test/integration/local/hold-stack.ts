/*
 * A process that uses the embedded stack: opens it, says where it is (one line of JSON), and holds it until its standard input ends.
 * hold-stack.ts HOME IDLE_MS
 */
import { once } from 'node:events';
import { openLocalStack } from '../../../infra/local/connect.ts';

const [home = '', idleMs = ''] = process.argv.slice(2);
await using stack = await openLocalStack(home, { idleMs: Number(idleMs) });
const { s3Endpoint, dynamoEndpoint } = stack;
process.stdout.write(`${JSON.stringify({ s3Endpoint, dynamoEndpoint })}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
