import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after } from 'node:test';
import { s3EndpointSuite } from '../conformance/s3-endpoint-suite.ts';
import { INTEROP_FOLDER } from './install.ts';
import { realS3 } from './versitygw.ts';

/** Where versitygw v1.8.0 (posix backend) differs from AWS, as far as the suite looks. */
const DIFFERENCES: Readonly<Record<string, string>> = {};

// Not in /tmp: versitygw keeps metadata in extended attributes, which a tmpfs may not have.
await mkdir(INTEROP_FOLDER, { recursive: true });
const folder = await mkdtemp(join(INTEROP_FOLDER, 'versitygw-state-'));
after(() => rm(folder, { recursive: true, force: true }));
s3EndpointSuite('versitygw', { ...(await realS3(folder)), differences: DIFFERENCES });
