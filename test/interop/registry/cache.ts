import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { childEnvironment } from '../../../infra/local/processes.ts';
import { isDigest, type Digest } from '../../../lib/oci/digest.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { blobObjectKey } from '../../../lib/store/keys.ts';
import { startStack } from '../../support/stack.ts';
import type { DockerRegistry } from './docker-registry.ts';

const COMMAND = fileURLToPath(new URL('../../../lib/cli/entrepot.js', import.meta.url));
const COMMAND_TIMEOUT_MS = 120_000;

/** What `entrepot` printed, and how it ended. */
export interface CommandResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The JSON documents on stdout, one a line. */
  readonly documents: readonly unknown[];
}

/** An empty cache in an embedded stack of its own, used by the real command line in processes of its own. */
export interface InteropCache extends AsyncDisposable {
  /** Replaces the configuration. */
  configure(configuration: object): void;
  /** Replaces Docker's `config.json`. */
  dockerConfig(content: object): void;
  /** Runs `entrepot` with `--json`. */
  entrepot(args: readonly string[], environment?: Readonly<Record<string, string>>): Promise<CommandResult>;
  /** The receipt of `entrepot pull`; fails the test if there is none. */
  pull(reference: string, ...platforms: string[]): Promise<Receipt>;
  /** Every digest under `blobs/` in S3. */
  digests(): Promise<Digest[]>;
  /** The bytes in S3. */
  read(digest: Digest): Promise<Buffer>;
  /** Of `entrepot`: the configuration, Docker's folder and the stack. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where files of the test may be put. */
  readonly folder: string;
  close(): Promise<void>;
}

export async function openInteropCache(configuration: object): Promise<InteropCache> {
  const stack = await startStack();
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-interop-'));
  const s3 = new S3Client(stack.s3Config);
  const configFile = join(folder, 'entrepot.yaml');
  const dockerFolder = join(folder, 'docker');
  mkdirSync(dockerFolder);

  const configure = (content: object): void => writeFileSync(configFile, JSON.stringify(content));
  const dockerConfig = (content: object): void =>
    writeFileSync(join(dockerFolder, 'config.json'), JSON.stringify(content));
  configure(configuration);
  dockerConfig({});

  const environment = { ...stack.environment, ENTREPOT_CONFIG: configFile, DOCKER_CONFIG: dockerFolder };
  const entrepot: InteropCache['entrepot'] = (args, more = {}) =>
    runEntrepot([...args, '--json'], { ...environment, ...more });
  const pull: InteropCache['pull'] = async (reference, ...platforms) => {
    const chosen = platforms.flatMap((platform) => ['--platform', platform]);
    const result = await entrepot(['pull', reference, ...chosen]);
    assert.equal(result.exitCode, 0, `${result.stdout}${result.stderr}`);
    assert.equal(result.documents.length, 1, result.stdout);
    return result.documents[0] as Receipt;
  };
  const digests = async (): Promise<Digest[]> => {
    const page = await s3.send(new ListObjectsV2Command({ Bucket: stack.bucket, Prefix: 'blobs/' }));
    assert.equal(page.IsTruncated ?? false, false);
    return (page.Contents ?? []).map(({ Key = '' }) => {
      const digest = Key.replace(/^blobs\/(sha256|sha512)\//, '$1:');
      assert.ok(isDigest(digest), Key);
      return digest;
    });
  };
  const read = async (digest: Digest): Promise<Buffer> => {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: stack.bucket, Key: blobObjectKey(digest) }));
    assert.ok(Body !== undefined);
    return Buffer.from(await Body.transformToByteArray());
  };
  const close = async (): Promise<void> => {
    s3.destroy();
    await stack.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return {
    configure,
    dockerConfig,
    entrepot,
    pull,
    digests,
    read,
    environment,
    folder,
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function runEntrepot(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<CommandResult> {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: { ...childEnvironment(), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: AbortSignal.timeout(COMMAND_TIMEOUT_MS),
  });
  const [stdout, stderr, [exitCode]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  const lines = stdout.split('\n').filter((line) => line !== '');
  return { exitCode, stdout, stderr, documents: lines.map((line): unknown => JSON.parse(line)) };
}

/** The cache holds exactly `digests`, each byte for byte as the registry stored it. */
export async function assertHolds(
  cache: InteropCache,
  registry: DockerRegistry,
  digests: ReadonlySet<Digest>,
): Promise<void> {
  assert.deepEqual((await cache.digests()).sort(), [...digests].sort());
  for (const digest of digests) {
    assert.ok(
      (await cache.read(digest)).equals(registry.stored(digest)),
      `${digest} differs from the registry's bytes`,
    );
  }
}
