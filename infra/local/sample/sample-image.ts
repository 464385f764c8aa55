import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { helloProgram } from './hello-program.ts';
import {
  buildAttestation,
  buildImage,
  buildIndex,
  type Image,
  type IndexEntrySpec,
  type LayerSpec,
} from './image-builder.ts';
import type { FileSpec } from './tar.ts';

/** Where the quickstart publishes the sample image. */
export const SAMPLE_REPOSITORY = 'team/app';
export const SAMPLE_TAG = 'v1';

const PROJECT = fileURLToPath(new URL('../../..', import.meta.url));
const ESBUILD_PACKAGES = { amd64: '@esbuild/linux-x64', arm64: '@esbuild/linux-arm64' } as const;
const EXECUTABLE = 0o755;

/**
 * A real multi-arch image, made in a second or two from what `npm ci` installed: linux/amd64 and linux/arm64, each with its attestation.
 *
 * Both share two layers: the TypeScript compiler (uncompressed, above 8 MiB, so that it goes up in parts) and the project's own
 * sources. Each has a layer of its own with a program that really runs on it, and esbuild where its package for that architecture is installed.
 */
export function sampleImage(): Image {
  const shared: LayerSpec[] = [
    { files: compilerFiles(), compression: 'none' },
    { files: filesUnder(join(PROJECT, 'lib'), 'srv/entrepot/lib') },
  ];
  const entries: IndexEntrySpec[] = [];
  const attestations: IndexEntrySpec[] = [];
  for (const architecture of ['amd64', 'arm64'] as const) {
    const platform = `linux/${architecture}`;
    const image = buildImage({
      platform,
      layers: [...shared, { files: programFiles(architecture) }],
      config: {
        Entrypoint: ['/bin/hello'],
        Env: ['PATH=/usr/local/bin:/bin'],
        WorkingDir: '/srv/entrepot',
        Labels: { 'org.opencontainers.image.licenses': 'Apache-2.0' },
      },
    });
    entries.push({ image, platform });
    attestations.push({ image: buildAttestation(image), attests: image });
  }
  return buildIndex({
    entries: [...entries, ...attestations],
    annotations: { 'org.opencontainers.image.title': 'The sample image of Entrepot' },
  });
}

function compilerFiles(): Record<string, FileSpec> {
  const folder = packageFolder('typescript');
  if (folder === undefined) {
    throw new Error('the package typescript is not installed: run `npm ci` in the project folder, then try again');
  }
  const files: Record<string, FileSpec> = {};
  for (const name of [
    'LICENSE.txt',
    'ThirdPartyNoticeText.txt',
    'package.json',
    'lib/typescript.js',
    'lib/_tsc.js',
    'lib/tsc.js',
  ]) {
    files[`usr/lib/typescript/${name}`] = readFileSync(join(folder, name));
  }
  return files;
}

function programFiles(architecture: 'amd64' | 'arm64'): Record<string, FileSpec> {
  const message = `Hello from linux/${architecture}: this image came out of an Entrepot cache.\n`;
  const files: Record<string, FileSpec> = {
    'bin/hello': { bytes: helloProgram(architecture, message), mode: EXECUTABLE },
    'etc/platform': `linux/${architecture}\n`,
    'usr/share/licenses/entrepot/LICENSE': readFileSync(join(PROJECT, 'LICENSE')),
  };
  const esbuild = packageFolder(ESBUILD_PACKAGES[architecture]);
  if (esbuild !== undefined) {
    files['usr/local/bin/esbuild'] = { bytes: readFileSync(join(esbuild, 'bin/esbuild')), mode: EXECUTABLE };
  }
  return files;
}

/** Folder of the installed package; undefined if it is not installed, such as one for another processor. */
function packageFolder(name: string): string | undefined {
  const search = createRequire(import.meta.url).resolve.paths(name) ?? [];
  return search
    .map((folder) => join(folder, name))
    .find((folder) => statSync(join(folder, 'package.json'), { throwIfNoEntry: false }) !== undefined);
}

function filesUnder(folder: string, target: string): Record<string, FileSpec> {
  const files: Record<string, FileSpec> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files[join(target, relative(folder, path))] = readFileSync(path);
  }
  return files;
}
