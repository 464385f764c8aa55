import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { helloProgram } from '../../../infra/local/sample/hello-program.ts';
import type { MediaTypes } from '../../../infra/local/sample/image-builder.ts';
import type { FileSpec } from '../../../infra/local/sample/tar.ts';
import { childEnvironment } from '../../../infra/local/processes.ts';
import type { Descriptor } from '../../../lib/oci/descriptor.ts';
import { buildAttestation, buildImage, buildIndex, type Image, type LayerSpec } from '../../support/images.ts';
import { INTEROP_FOLDER } from '../install.ts';

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox'];
const DEBOOTSTRAP_TIMEOUT_MS = 300_000;
const RUN_TIMEOUT_MS = 30_000;
const EXECUTABLE = 0o755;

/**
 * An image that really runs: for linux/amd64 Debian's static busybox with its links, for linux/arm64 a program of its own; the
 * settings are one layer for both. OCI images have every compression and attestations, Docker's have gzip alone, as Docker had.
 */
export function busyboxImage(mediaTypes: MediaTypes): Image {
  const isOci = mediaTypes === 'oci';
  const settings: LayerSpec = {
    files: { 'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n', 'etc/motd': 'landed once, shipped on\n', 'tmp/': '' },
    compression: isOci ? 'zstd' : 'gzip',
  };
  const script: LayerSpec = {
    files: { 'usr/local/bin/answer': { bytes: Buffer.from('#!/bin/sh\necho $((6 * 7))\n'), mode: EXECUTABLE } },
    compression: isOci ? 'none' : 'gzip',
  };
  const amd64 = buildImage({
    platform: 'linux/amd64',
    mediaTypes,
    layers: [{ files: busyboxFiles() }, settings, script],
    config: { Entrypoint: ['/usr/local/bin/answer'], Env: ['PATH=/usr/local/bin:/bin'] },
  });
  const hello = helloProgram('arm64', 'Hello from linux/arm64\n');
  const arm64 = buildImage({
    platform: 'linux/arm64/v8',
    mediaTypes,
    layers: [{ files: { 'bin/hello': { bytes: hello, mode: EXECUTABLE } } }, settings],
    config: { Entrypoint: ['/bin/hello'] },
  });
  const platforms = [
    { image: amd64, platform: 'linux/amd64' },
    { image: arm64, platform: 'linux/arm64/v8' },
  ];
  const attestations = platforms.map(({ image }) => ({ image: buildAttestation(image), attests: image }));
  return buildIndex({ entries: isOci ? [...platforms, ...attestations] : platforms, mediaTypes });
}

function busyboxFiles(): Record<string, FileSpec> {
  const path = BUSYBOX.find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error('busybox is not installed');
  const applets = execFileSync(path, ['--list']).toString().trim().split('\n');
  const links = applets
    .filter((applet) => applet !== 'busybox')
    .map((applet) => [`bin/${applet}`, { symlink: 'busybox' }]);
  return {
    ...(Object.fromEntries(links) as Record<string, FileSpec>),
    'bin/busybox': { bytes: readFileSync(path), mode: EXECUTABLE },
  };
}

/** Debian's smallest root file system, some 200 MB, as one layer. Made once, and kept outside of version control. */
export async function debianImage(): Promise<Image> {
  const archive = join(INTEROP_FOLDER, 'debootstrap-bookworm.tar');
  if (!existsSync(archive)) await makeDebianArchive(archive);
  return buildImage({
    platform: 'linux/amd64',
    layers: [{ tar: readFileSync(archive), compression: 'zstd' }],
    config: { Cmd: ['/bin/bash'] },
  });
}

async function makeDebianArchive(archive: string): Promise<void> {
  mkdirSync(INTEROP_FOLDER, { recursive: true });
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-debootstrap-'));
  const options = { timeout: DEBOOTSTRAP_TIMEOUT_MS, env: childEnvironment(), maxBuffer: 16 * 1024 * 1024 };
  try {
    const root = join(folder, 'root');
    await promisify(execFile)('debootstrap', ['--variant=minbase', 'bookworm', root], options);
    const incoming = join(folder, 'archive.tar');
    const contents = ['--exclude=./var/cache/apt/archives/*.deb', '--exclude=./dev/*', '-C', root, '.'];
    await promisify(execFile)('tar', ['--numeric-owner', '--sort=name', '-cf', incoming, ...contents], options);
    execFileSync('mv', [incoming, `${archive}.incoming`]);
    renameSync(`${archive}.incoming`, archive);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Unpacks the layers into a folder of its own and runs a command in it, by chroot: what came out of the cache is a root file
 * system again. Returns what the command printed.
 */
export function runInRoot(
  layers: readonly { descriptor: Descriptor; bytes: Uint8Array }[],
  command: readonly string[],
): string {
  const root = mkdtempSync(join(tmpdir(), 'entrepot-root-'));
  try {
    for (const { descriptor, bytes } of layers) {
      execFileSync('tar', ['--numeric-owner', '-xf', '-', '-C', root], {
        input: unpacked(descriptor.mediaType, bytes),
      });
    }
    return execFileSync('chroot', [root, ...command], {
      timeout: RUN_TIMEOUT_MS,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    }).toString();
  } finally {
    rmSync(root, { recursive: true });
  }
}

function unpacked(mediaType: string, bytes: Uint8Array): Uint8Array {
  if (/[+.]gzip$/.test(mediaType)) return gunzipSync(bytes);
  return mediaType.endsWith('+zstd') ? zstdDecompressSync(bytes) : bytes;
}
