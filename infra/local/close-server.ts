import { once } from 'node:events';
import type { Server } from 'node:http';

/** Ends the server with its connections, whatever is under way on them. Idempotent. */
export async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
