import { parseArgs } from 'node:util';
import { startS3 } from './server.ts';

/*
 * The embedded S3 endpoint as a process: `node infra/local/s3/main.ts --root DIR [--port P] [--host H] [--region R]`.
 * Its keys come from ENTREPOT_LOCAL_S3_KEY and ENTREPOT_LOCAL_S3_SECRET, so that no process list shows them.
 * It prints `{"endpoint": …}` as one line when it listens, and ends on SIGTERM or SIGINT. Started with a channel, it reports its pid there when it listens, and ends
 * when the channel closes.
 */

const { values } = parseArgs({
  options: {
    root: { type: 'string' },
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    region: { type: 'string', default: 'us-east-1' },
  },
});
const accessKeyId = process.env.ENTREPOT_LOCAL_S3_KEY;
const secretAccessKey = process.env.ENTREPOT_LOCAL_S3_SECRET;
const port = Number(values.port);
if (values.root === undefined || !accessKeyId || !secretAccessKey || !Number.isInteger(port)) {
  process.stderr.write(
    'usage: node infra/local/s3/main.ts --root DIR [--port P] [--host H] [--region R], with ENTREPOT_LOCAL_S3_KEY and ENTREPOT_LOCAL_S3_SECRET set\n',
  );
  process.exit(2);
}

const ended = new Promise((resolve) => {
  process.once('SIGTERM', resolve);
  process.once('SIGINT', resolve);
  process.once('disconnect', resolve);
  if (process.send !== undefined && !process.connected) resolve(undefined); // The channel closed before this line.
});
const { host, region } = values;
const server = await startS3({ root: values.root, host, port, region, accessKeyId, secretAccessKey }).catch(
  (error: unknown): never => {
    process.stderr.write(
      `the S3 endpoint could not start: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    process.exit(1);
  },
);
process.stdout.write(`${JSON.stringify({ endpoint: server.endpoint })}\n`);
process.send?.(process.pid, undefined, undefined, () => undefined);
await ended;
await server.close();
