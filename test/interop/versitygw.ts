import { mkdirSync } from 'node:fs';
import type { S3Process } from '../conformance/s3-process-subject.ts';
import { s3Process } from '../conformance/s3-process-subject.ts';
import type { S3Server } from '../conformance/s3-suite-support.ts';
import { buildGoProgram } from './go-program.ts';

/** Pinned: the list of differences in `s3-endpoint.test.ts` is of this version. */
const VERSITYGW = { path: 'github.com/versity/versitygw/cmd/versitygw', version: 'v1.8.0' };
const KEYS = { region: 'us-east-1', accessKeyId: 'interop', secretAccessKey: 'interop-secret' };

/**
 * versitygw, a real S3 server over a POSIX file system, with its state in `folder`: built by Go from its module proxy where it is not there yet.
 *
 * @throws Error when it cannot be built.
 */
export async function realS3(folder: string): Promise<S3Process> {
  const program = await buildGoProgram(VERSITYGW);
  mkdirSync(folder, { recursive: true });
  return s3Process({
    command: (port) => [program, '--port', `127.0.0.1:${port}`, '--keep-alive', '--quiet', 'posix', folder],
    environment: { ROOT_ACCESS_KEY_ID: KEYS.accessKeyId, ROOT_SECRET_ACCESS_KEY: KEYS.secretAccessKey },
    ...KEYS,
  });
}

/** {@link realS3}, started. It ends with the test process, if not before by `close`. */
export async function startRealS3(folder: string): Promise<S3Server> {
  return await (await realS3(folder)).start();
}
