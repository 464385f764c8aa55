import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { childEnvironment } from '../../../infra/local/processes.ts';
import type { ImageRow } from '../../../lib/cli/images.ts';
import type { FailureDocument } from '../../../lib/cli/output.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import type { Validation } from '../../../lib/repair/validate.ts';
import { DAMAGES, filesOf } from '../../support/damage.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../../support/images.ts';
import { entrepot as inProcess, entrepotProcess, LAUNCHER, runOf, type Run } from '../../support/entrepot.ts';
import { startStack, type TestStack } from '../../support/stack.ts';
import { until } from '../../support/until.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';

const REGISTRY = 'registry.example.test';
const APP = `${REGISTRY}/team/app:v1`;
const LAYER_BYTES = 20_000;

describe('the command line', { timeout: 300_000 }, () => {
  let folder: string;
  let stack: TestStack;
  let upstream: TestUpstream;
  let environment: Readonly<Record<string, string>>;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-cli-'));
    [stack, upstream] = await Promise.all([startStack(), startUpstream()]);
    upstream.addImage('team/app', upstreamImage(multiArchImage({ name: 'app', layerBytes: [LAYER_BYTES] }), 'v1'));
    const config = join(folder, 'config.yaml');
    await writeFile(
      config,
      `registries:\n  ${REGISTRY}:\n    endpoint: ${upstream.origin}\n    credentials: none\n    alias: own\n`,
    );
    environment = { ...stack.environment, ENTREPOT_CONFIG: config };
  });

  after(async () => {
    await Promise.all([stack.close(), upstream.close()]);
    await rm(folder, { recursive: true, force: true });
  });

  /** A process, for what a process alone has: signals, pipes, links, and a stack that it keeps. */
  function start(
    args: readonly string[],
    extra: Readonly<Record<string, string>> = {},
    launcher = LAUNCHER,
  ): ChildProcess {
    return spawn(process.execPath, [launcher, ...args], {
      cwd: folder,
      env: { ...childEnvironment(), ...environment, ...extra },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  const entrepot = (...args: readonly string[]): Promise<Run> => inProcess(args, environment);

  test('pulls, then hits without a request: a document for each, and nothing else on stdout', async () => {
    const first = await entrepotProcess(['pull', APP, '--platform', 'linux/amd64', '--json'], environment);
    assert.equal(first.stderr, '');
    assert.equal(first.code, 0);
    assert.equal(first.documents.length, 1);
    const receipt = first.documents[0] as Receipt;
    assert.equal(receipt.outcome, 'pulled');
    assert.equal(receipt.reference, APP);
    assert.deepEqual(
      receipt.platforms.map(({ platform, complete }) => [platform, complete]),
      [['linux/amd64', true]],
    );

    upstream.requests.length = 0;
    const second = await entrepot('pull', APP, '--platform', 'linux/amd64', '--json');
    assert.equal((second.documents[0] as Receipt).outcome, 'hit');
    assert.equal(upstream.requests.length, 0);
  });

  test('shows a human what happened, without bars where there is no terminal', async () => {
    const { code, stdout, stderr } = await entrepot('pull', APP);
    assert.equal(code, 0);
    assert.match(stdout, /^registry\.example\.test\/team\/app:v1: (pulled|was in the cache)\n {2}digest {5}sha256:/);
    assert.match(stdout, /platform {3}linux\/arm64 +sha256:[0-9a-f]{64} complete/);
    // Notes of what is copied, if anything is; plain lines.
    assert.match(stderr, /^(registry\.example\.test\/team\/app:v1.*\n| {2}[0-9a-f]{12} copied.*\n)*$/);
  });

  test('says with --verbose which configuration and which cache it uses, and of an empty one where it is', async () => {
    const commands = [
      ['pull', APP],
      ['validate', APP],
      ['images'],
      ['rebuild'],
      ['mirror-config', 'podman'],
      ['doctor', '--url', 'http://127.0.0.1:1'],
    ];
    for (const command of commands) {
      const { stderr } = await entrepot(...command, '--verbose');
      assert.match(stderr, /^configuration {2}.+\ncache {10}.+\n/, command.join(' '));
    }
    const { stdout, stderr } = await entrepot('images', '--verbose', '--json');
    assert.match(
      stderr,
      new RegExp(`^configuration  ${join(folder, 'config.yaml')}\\ncache          the bucket .* and the table .*\\n$`),
    );
    assert.doesNotMatch(stdout, /configuration/);
    const home = join(folder, 'empty');
    const local = { ...environment, ENTREPOT_BUCKET: '', ENTREPOT_TABLE: '', ENTREPOT_HOME: home };
    const empty = await inProcess(['images'], local);
    assert.ok(empty.stderr.includes(`The cache is empty: the embedded stack in ${home}.`), empty.stderr);
  });

  test('goes on after a failure, with a result for each reference', async () => {
    const missing = `${REGISTRY}/team/app:nothing`;
    const unconfigured = 'other.example.test/app:v1';
    const { code, documents } = await entrepot('pull', missing, unconfigured, APP, '--json');
    assert.equal(code, 1);
    const [first, second, third] = documents as [FailureDocument, FailureDocument, Receipt];
    assert.equal(documents.length, 3);
    assert.deepEqual(Object.keys(first), ['reference', 'error']);
    assert.deepEqual(Object.keys(first.error), ['code', 'message', 'retryable']);
    assert.deepEqual([first.reference, first.error.code, first.error.retryable], [missing, 'MANIFEST_UNKNOWN', false]);
    assert.deepEqual([second.reference, second.error.code], [unconfigured, 'NAME_UNKNOWN']);
    assert.equal(third.reference, APP);
  });

  test('tells a human why, without a stack', async () => {
    const { code, stdout, stderr } = await entrepot('pull', `${REGISTRY}/team/app:nothing`);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /^entrepot: registry\.example\.test\/team\/app:nothing: /);
    assert.doesNotMatch(stderr, /^ +at /m);
  });

  test('usage: bad references and platforms end with 2 before anything is asked', async () => {
    upstream.requests.length = 0;
    const cases: readonly (readonly [readonly string[], string | null])[] = [
      [['pull', 'Upper/Case:v1', APP, '--json'], 'NAME_INVALID'],
      [['pull', `${REGISTRY}/app@sha256:12`, '--json'], 'DIGEST_INVALID'],
      [['pull', APP, '--platform', 'linux', '--json'], null],
      [['validate', 'a//b', '--json'], 'NAME_INVALID'],
    ];
    for (const [args, expected] of cases) {
      const { code, stderr, documents } = await entrepot(...args);
      assert.equal(code, 2, args.join(' '));
      assert.equal(stderr, '');
      for (const document of documents) assert.equal((document as FailureDocument).error.code, expected);
      assert.equal(documents.length, 1, 'only what is wrong is named');
    }
    assert.equal(upstream.requests.length, 0);
  });

  test('a registry is named by its alias, too', async () => {
    const pulled = await entrepot('pull', 'own/team/app:v1', '--json');
    assert.equal((pulled.documents[0] as Receipt).reference, APP);
    const validated = await entrepot('validate', 'own/team/app:v1', '--json');
    assert.equal((validated.documents[0] as Validation).reference, APP);
  });

  test('usage: unknown commands and options, and missing references, end with 2', async () => {
    for (const args of [['fetch'], ['pull'], ['pull', APP, '--fast'], ['validate'], ['validate', APP, APP], []]) {
      const { code, stdout, stderr } = await entrepot(...args);
      assert.equal(code, 2, args.join(' '));
      assert.equal(stdout, '');
      assert.notEqual(stderr, '');
    }
    assert.equal((await entrepot('--help')).code, 0);
    const help = await entrepot('pull', '--help');
    assert.equal(help.code, 0);
    assert.doesNotMatch(help.stdout, /default/);
  });

  test('usage: a wrong configuration ends with 2', async () => {
    const args = ['pull', APP, '--json'];
    const oneAlone = await inProcess(args, { ...environment, ENTREPOT_TABLE: '' });
    assert.equal(oneAlone.code, 2);
    assert.match((oneAlone.documents[0] as FailureDocument).error.message, /ENTREPOT_TABLE/);
    const noRegion = await inProcess(args, { ...environment, AWS_REGION: '', AWS_CONFIG_FILE: join(folder, 'none') });
    assert.equal(noRegion.code, 2);
    assert.match((noRegion.documents[0] as FailureDocument).error.message, /AWS_REGION/);
    const noFile = await inProcess(args, { ...environment, ENTREPOT_CONFIG: join(folder, 'none.yaml') });
    assert.equal(noFile.code, 2);
    assert.equal((await entrepot('local')).code, 2);
  });

  test('a home that cannot be one is named, with 2', async () => {
    const file = join(folder, 'a-file');
    await writeFile(file, '');
    const local = { ...environment, ENTREPOT_BUCKET: '', ENTREPOT_TABLE: '', ENTREPOT_HOME: join(file, 'home') };
    for (const command of [
      ['pull', APP],
      ['images'],
      ['validate', APP],
      ['rebuild'],
      ['serve', '--port', '0'],
      ['local'],
    ]) {
      const { code, stdout, stderr } = await inProcess(command, local);
      assert.deepEqual([code, stdout], [2, ''], command.join(' '));
      assert.match(
        stderr,
        /cannot keep its state in .*a-file\/home: a part of the path is a file.*ENTREPOT_HOME.*\(ENOTDIR\)/,
      );
    }
    const { documents } = await inProcess(['pull', APP, '--json'], local);
    assert.match((documents[0] as FailureDocument).error.message, /ENOTDIR/);
  });

  test('validate: 0 only if complete', async () => {
    await entrepot('pull', APP, '--platform', 'linux/amd64');
    const args = ['validate', APP, '--platform', 'linux/amd64', '--deep', '--json'];
    const complete = await entrepotProcess(args, environment);
    assert.equal(complete.code, 0);
    assert.deepEqual(Object.keys(complete.documents[0] as Validation), [
      'reference',
      'digest',
      'state',
      'platforms',
      'missing',
    ]);
    const unknown = await entrepot('validate', `${REGISTRY}/team/app:v2`, '--json');
    assert.equal(unknown.code, 1);
    assert.equal((unknown.documents[0] as Validation).state, 'unknown');
    assert.equal((await entrepot('validate', `${REGISTRY}/team/app:v2`)).code, 1);
  });

  test('images: what was published, with sizes', async () => {
    await entrepot('pull', APP, '--platform', 'linux/amd64', '--platform', 'linux/arm64');
    const { code, documents } = await entrepot('images', '--json');
    assert.equal(code, 0);
    const [image] = documents as [ImageRow];
    assert.equal(documents.length, 1);
    assert.equal(image.reference, APP);
    assert.deepEqual([...image.platforms].sort(), ['linux/amd64', 'linux/arm64']);
    assert.ok(image.size !== null && image.size > 2 * LAYER_BYTES);
    assert.match(image.checked ?? '', /^\d{4}-\d\d-\d\dT/);
    assert.match((await entrepot('images')).stdout, /^REFERENCE +DIGEST +PLATFORMS +SIZE +CHECKED\n/);
  });

  test('rebuild: what became of each record in the bucket', async () => {
    await entrepot('pull', APP, '--platform', 'linux/amd64');
    const { code, documents } = await entrepot('rebuild', '--json');
    assert.deepEqual([code, documents], [0, [{ outcome: 'kept', reference: APP, lost: 0 }]]);
    const { stdout, stderr } = await entrepot('rebuild');
    assert.equal(stdout, `${APP}: kept\n`);
    assert.match(stderr, /0 references rebuilt, 0 in part, 1 known already, 0 skipped/);
  });

  test('the first SIGINT ends a pull cleanly: partial, and 1', async () => {
    upstream.addImage('team/slow', upstreamImage(multiArchImage({ name: 'slow' }), 'v1'));
    const undo = upstream.fault(
      when({ kind: 'blob', method: 'GET', repository: 'team/slow' }, { stallAfterBytes: 10 }),
    );
    const child = start(['pull', `${REGISTRY}/team/slow:v1`, APP, `${REGISTRY}/team/nothing:v1`, '--json']);
    const run = finish(child);
    await until(() => upstream.count({ kind: 'blob', repository: 'team/slow' }) > 0);
    child.kill('SIGINT');
    child.kill('SIGINT'); // As npm and the terminal do: both are the same Ctrl-C.
    const { code, documents } = await run;
    undo();
    assert.equal(code, 1);
    // Those after it had not begun, and are not named.
    assert.deepEqual(
      (documents as Receipt[]).map(({ reference, outcome }) => [reference, outcome]),
      [[`${REGISTRY}/team/slow:v1`, 'partial']],
    );
    // What it held is free: the next pull does not wait for a lease to lapse.
    const next = await entrepot('pull', `${REGISTRY}/team/slow:v1`, '--json');
    assert.equal((next.documents[0] as Receipt).outcome, 'pulled');
    assert.ok((next.documents[0] as Receipt).durationMs < 5_000);
  });

  test('works by a symbolic link, as npm installs it', async () => {
    const link = join(folder, 'entrepot');
    await symlink(LAUNCHER, link);
    assert.equal((await finish(start(['images', '--json'], {}, link))).code, 0);
  });

  test('a reader that goes away is no error', async () => {
    const child = start(['pull', APP, APP, '--json']);
    child.stdout?.destroy();
    const { code, stderr } = await finish(child);
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('without bucket and table uses the embedded stack, and `local` shows where it is', async () => {
    const local = { ENTREPOT_BUCKET: '', ENTREPOT_TABLE: '', ENTREPOT_HOME: join(folder, 'home') };
    const child = start(['local'], local);
    const run = finish(child);
    let printed = '';
    child.stdout?.on('data', (chunk: string) => (printed += chunk));
    await until(() => printed.includes('export ENTREPOT_TABLE='));
    const pulled = await inProcess(['pull', APP, '--json'], { ...environment, ...local });
    assert.equal(pulled.code, 0, pulled.stderr);
    assert.equal((pulled.documents[0] as Receipt).outcome, 'pulled');
    const shell = await inProcess(['local', '--env'], { ...environment, ...local });
    assert.deepEqual(
      shell.stdout.trimEnd().split('\n'),
      [...printed.matchAll(/^ {2}(export .*)$/gm)].map(([, line]) => line),
    );
    // What `local` printed is enough for another program.
    const exported = Object.fromEntries(
      [...printed.matchAll(/export (\w+)=(.*)/g)].map(([, name = '', value = '']): [string, string] => [name, value]),
    );
    const images = await inProcess(['images', '--json'], { ...environment, ...exported });
    assert.equal(images.documents.length, 1);
    child.kill('SIGINT');
    assert.equal((await run).code, 0);
  });

  test('validate --bytes: reads what HEAD does not, and the next pull heals it', async () => {
    const big = noiseImage({ name: 'big', layerBytes: [700_000] });
    upstream.addImage('team/big', upstreamImage(big, 'v1'));
    const reference = `${REGISTRY}/team/big:v1`;
    assert.equal((await entrepot('pull', reference)).code, 0);
    const layer = [...big.blobs.values()].find(({ byteLength }) => byteLength === 700_000)!;
    const [path] = await filesOf(join(stack.root, 's3'), layer);
    await DAMAGES.find(({ name }) => name === 'its last byte changed')!.damage(path!);
    assert.equal((await entrepot('validate', reference, '--deep')).code, 0);
    const { code, documents } = await entrepot('validate', reference, '--bytes', '--json');
    const { state, missing } = documents[0] as Validation;
    assert.deepEqual([code, state, missing.map(({ size }) => size)], [1, 'incomplete', [700_000]]);
    const healed = await entrepot('pull', reference, '--json');
    assert.equal((healed.documents[0] as Receipt).blobs.copied, 1);
    assert.equal((await entrepot('validate', reference, '--deep', '--bytes')).code, 0);
  });
});

async function finish(child: ChildProcess): Promise<Run> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return runOf(code, stdout, stderr);
}
