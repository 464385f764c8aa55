import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What DynamoDB charged for, as it said itself. */
export interface Capacity {
  requests: number;
  readUnits: number;
  writeUnits: number;
}

export interface CapacityProxy extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, in place of the endpoint of DynamoDB. */
  readonly origin: string;
  /** Since the last `take`. */
  take(): Capacity;
}

const READS = /\.(GetItem|BatchGetItem|Query|Scan|TransactGetItems)$/;

interface Answer {
  readonly ConsumedCapacity?: { readonly CapacityUnits?: number } | readonly { readonly CapacityUnits?: number }[];
}

/**
 * A loopback proxy in front of a DynamoDB endpoint that does not verify signatures: asks it for the capacity that each request consumed, and adds it up.
 *
 * A write that was refused consumes capacity, too, but the answer does not say how much: it counts as one unit.
 */
export async function startCapacityProxy(target: string): Promise<CapacityProxy> {
  let counted: Capacity = { requests: 0, readUnits: 0, writeUnits: 0 };
  const server = createServer((request, response) => {
    const pass = async (): Promise<void> => {
      const operation = String(request.headers['x-amz-target']);
      const asked = { ...(JSON.parse((await bodyOf(request)).toString()) as object), ReturnConsumedCapacity: 'TOTAL' };
      const { host: _, 'content-length': __, connection: ___, ...headers } = request.headers;
      const answer = await fetch(target, {
        method: 'POST',
        headers: headers as Record<string, string>,
        body: JSON.stringify(asked),
      });
      const body = Buffer.from(await answer.arrayBuffer());
      const units = answer.ok ? unitsOf(JSON.parse(body.toString()) as Answer) : 1;
      counted.requests += 1;
      counted[READS.test(operation) ? 'readUnits' : 'writeUnits'] += units;
      response.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.0' }).end(body);
    };
    pass().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      const taken = counted;
      counted = { requests: 0, readUnits: 0, writeUnits: 0 };
      return taken;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

const unitsOf = ({ ConsumedCapacity: consumed }: Answer): number =>
  [consumed ?? []].flat().reduce((sum, { CapacityUnits: units = 0 }) => sum + units, 0);

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
