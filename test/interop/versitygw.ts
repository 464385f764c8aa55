import { accessSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { S3Process } from '../conformance/s3-process-subject.ts';
import { s3Process } from '../conformance/s3-process-subject.ts';
import type { S3Server } from '../conformance/s3-suite-support.ts';
import { INTEROP_FOLDER, oneAtATime } from './install.ts';

/** Pinned: the list of differences in `s3-endpoint.test.ts` is of this version. */
const VERSION = 'v1.8.0';
const KEYS = { region: 'us-east-1', accessKeyId: 'interop', secretAccessKey: 'interop-secret' };

/**
 * versitygw, a real S3 server over a POSIX file system, with its state in `folder`: built by Go from its module proxy where it is not there yet.
 *
 * @throws Error when it cannot be built.
 */
export async function realS3(folder: string): Promise<S3Process> {
  const program = await buildVersitygw();
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

async function buildVersitygw(): Promise<string> {
  const folder = join(INTEROP_FOLDER, `versitygw-${VERSION}`);
  const program = join(folder, 'versitygw');
  try {
    accessSync(program);
    return program;
  } catch {
    // Not there yet: build it. The rename comes last, so that a program that is there is whole.
    const script = `[ -x "$1/versitygw" ] || {
      mkdir -p "$1/incoming" &&
      GOBIN="$1/incoming" go install "github.com/versity/versitygw/cmd/versitygw@$2" &&
      mv "$1/incoming/versitygw" "$1/versitygw"
    }`;
    await oneAtATime(script, [folder, VERSION]);
    return program;
  }
}
