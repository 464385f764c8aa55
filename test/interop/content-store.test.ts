import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { contentStoreSuite } from '../conformance/content-store-suite.ts';
import { INTEROP_FOLDER } from './install.ts';
import { startRealS3 } from './versitygw.ts';

contentStoreSuite('versitygw', async () => {
  mkdirSync(INTEROP_FOLDER, { recursive: true });
  const folder = await mkdtemp(join(INTEROP_FOLDER, 'content-store-'));
  const server = await startRealS3(folder);
  return {
    endpoint: server.endpoint,
    region: server.region,
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    close: async () => {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});
