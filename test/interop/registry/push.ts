import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment } from '../../../infra/local/processes.ts';
import { hexOf } from '../../../lib/oci/digest.ts';
import { DOCKER_LIST } from '../../../lib/oci/media-type.ts';
import type { Image } from '../../support/images.ts';

const PUSH_TIMEOUT_MS = 120_000;

/**
 * Pushes the image with skopeo, byte for byte and with all its platforms.
 *
 * @throws Error with what skopeo printed.
 */
export async function push(
  image: Image,
  registryHost: string,
  repository: string,
  tag: string,
  login?: { readonly user: string; readonly password: string },
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-layout-'));
  try {
    const source = isIndexOfDocker(image) ? writeDirectory(image, folder) : writeLayout(image, folder, tag);
    const credentials = login === undefined ? [] : ['--dest-creds', `${login.user}:${login.password}`];
    const options = ['--all', '--preserve-digests', '--dest-tls-verify=false', ...credentials];
    const places = [source, `docker://${registryHost}/${repository}:${tag}`];
    await promisify(execFile)('skopeo', ['--insecure-policy', 'copy', '--quiet', ...options, ...places], {
      env: childEnvironment(),
      timeout: PUSH_TIMEOUT_MS,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** skopeo finds only OCI's own media types in an OCI layout. */
const isIndexOfDocker = (image: Image): boolean => image.root.mediaType === DOCKER_LIST;

/** https://github.com/opencontainers/image-spec/blob/main/image-layout.md */
function writeLayout(image: Image, folder: string, tag: string): string {
  const blobs = join(folder, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  for (const [digest, bytes] of image.blobs) writeFileSync(join(blobs, hexOf(digest)), bytes);
  for (const [digest, { bytes }] of image.manifests) writeFileSync(join(blobs, hexOf(digest)), bytes);
  const { mediaType, digest, size } = image.root;
  const annotations = { 'org.opencontainers.image.ref.name': tag };
  writeFileSync(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size, annotations }] }),
  );
  return `oci:${folder}:${tag}`;
}

/** skopeo's `dir:` transport, for what an OCI layout cannot carry (containers-transports(5)). */
function writeDirectory(image: Image, folder: string): string {
  writeFileSync(join(folder, 'version'), 'Directory Transport Version: 1.1\n');
  for (const [digest, bytes] of image.blobs) writeFileSync(join(folder, hexOf(digest)), bytes);
  for (const [digest, { bytes }] of image.manifests)
    writeFileSync(join(folder, `${hexOf(digest)}.manifest.json`), bytes);
  writeFileSync(join(folder, 'manifest.json'), image.root.bytes);
  return `dir:${folder}`;
}
