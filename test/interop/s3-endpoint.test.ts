import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after } from 'node:test';
import { s3EndpointSuite } from '../conformance/s3-endpoint-suite.ts';
import { INTEROP_FOLDER } from './install.ts';
import { realS3 } from './versitygw.ts';

/** Where versitygw v1.8.0 (posix backend) differs from AWS, as far as the suite looks. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  'a streamed body with a trailing checksum is stored without its framing':
    'keeps aws-chunked in the Content-Encoding of the object (not in its bytes)',
  'reads conditional on the time, to the second': 'compares fractions of a second that Last-Modified does not show',
  'delete with If-Match of a key that is not there is 404': 'answers 204',
  'a key may be the beginning of another': 'keys are paths of files: one cannot be both a file and a folder',
  'a part may bring a checksum that Create did not name, and Complete has to name it then':
    'completes such parts by their bare ETags',
  'a checksum in the query of a presigned PUT is refused': 'ignores it, and compares nothing',
  'ListMultipartUploads shows what is open, from page to page': 'refuses its own upload id marker',
  'an unknown key is refused': 'with the code XAdminUserNotFound',
};

// Not in /tmp: versitygw keeps metadata in extended attributes, which a tmpfs may not have.
await mkdir(INTEROP_FOLDER, { recursive: true });
const folder = await mkdtemp(join(INTEROP_FOLDER, 'versitygw-state-'));
after(() => rm(folder, { recursive: true, force: true }));
s3EndpointSuite('versitygw', { ...(await realS3(folder)), differences: DIFFERENCES });
