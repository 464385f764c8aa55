import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startS3 } from '../../infra/local/s3/server.ts';
import { contentStoreSuite } from './content-store-suite.ts';

contentStoreSuite('the embedded S3', async () => {
  const root = await mkdtemp(join(tmpdir(), 'entrepot-content-store-'));
  const keys = { accessKeyId: 'AKIAENTREPOTTEST', secretAccessKey: 'entrepot-test-secret-access-key' };
  const region = 'us-east-1';
  const server = await startS3({ root, region, ...keys });
  return {
    endpoint: server.endpoint,
    region,
    ...keys,
    close: async () => {
      await server.close();
      await rm(root, { recursive: true, force: true });
    },
  };
});
