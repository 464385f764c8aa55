import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { FailureDocument } from '../../../lib/cli/output.ts';
import type { ClientFile } from '../../../lib/cli/mirror-config/served-cache.ts';
import { entrepot, entrepotProcess, type Run } from '../../support/entrepot.ts';

const URL_OPTION = ['--url', 'https://cache.example.test'];

interface Document {
  readonly client: string;
  readonly url: string;
  readonly files: readonly ClientFile[];
  readonly notes: readonly string[];
}

describe('entrepot mirror-config', { timeout: 300_000 }, () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'entrepot-mirror-config-'));
    const registries = { 'docker.io': {}, 'registry.example.test:5000': { alias: 'example' } };
    writeFileSync(join(folder, 'entrepot.yaml'), JSON.stringify({ registries }));
  });

  after(() => rmSync(folder, { recursive: true }));

  /** The configuration of the folder, by its path. */
  const run = (...args: string[]): Promise<Run> =>
    entrepot(['mirror-config', ...args], { ENTREPOT_CONFIG: join(folder, 'entrepot.yaml') });

  test('prints each file below a line that says where it goes, and notes on stderr', async () => {
    // As a process, which finds the configuration where it is started.
    const { code, stdout, stderr } = await entrepotProcess(['mirror-config', 'podman', ...URL_OPTION], {}, folder);
    assert.equal(code, 0, stderr);
    assert.equal(
      stdout,
      `# ===> /etc/containers/registries.conf.d/50-entrepot.conf
[[registry]]
prefix = "docker.io"
location = "docker.io"

[[registry.mirror]]
location = "cache.example.test/docker.io"
pull-from-mirror = "all"

[[registry]]
prefix = "registry.example.test:5000"
location = "registry.example.test:5000"

[[registry.mirror]]
location = "cache.example.test/example"
pull-from-mirror = "all"
`,
    );
    assert.equal(stderr, '');
    const docker = await run('docker', ...URL_OPTION);
    assert.match(docker.stdout, /^# ===> \/etc\/docker\/daemon\.json \(merge into it\)\n\{\n/);
    assert.match(
      docker.stderr,
      /^registry\.example\.test:5000: docker pull cache\.example\.test\/example\/team\/app:v1$/m,
    );
  });

  test('without --url the cache is what entrepot serve listens on', async () => {
    const { code, stdout } = await run('containerd');
    assert.equal(code, 0);
    assert.match(stdout, /^\[host\."http:\/\/127\.0\.0\.1:5000"\]$/m);
  });

  test('--json prints all of it as one document', async () => {
    const { code, stdout, stderr } = await run('containerd', ...URL_OPTION, '--json');
    assert.equal(code, 0, stderr);
    assert.equal(stderr, '');
    const document = JSON.parse(stdout) as Document;
    assert.equal(document.client, 'containerd');
    assert.equal(document.url, 'https://cache.example.test');
    assert.deepEqual(
      document.files.map(({ place, isFragment }) => [place, isFragment]),
      [
        ['/etc/containerd/certs.d/docker.io/hosts.toml', false],
        ['/etc/containerd/certs.d/registry.example.test_5000_/hosts.toml', false],
        ['/etc/containerd/config.toml', true],
        ['/etc/containerd/config.toml', true],
      ],
    );
    assert.ok(document.notes.length > 0);
  });

  test('--output writes the files, and replaces what differs only with --force', async () => {
    const output = join(folder, 'new', 'folder');
    const options = [...URL_OPTION, '--output', output];
    const file = join(output, 'certs.d/docker.io/hosts.toml');
    const first = await run('containerd', ...options);
    assert.equal(first.code, 0, first.stderr);
    const names = readdirSync(output, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.toml'));
    assert.deepEqual(names.sort(), [
      'certs.d/docker.io/hosts.toml',
      'certs.d/registry.example.test_5000_/hosts.toml',
      'config-containerd-1.toml',
      'config-containerd-2.toml',
    ]);
    assert.ok(first.stdout.includes(`${file}: goes to /etc/containerd/certs.d/docker.io/hosts.toml\n`));
    const content = readFileSync(file, 'utf8');

    assert.equal((await run('containerd', ...options)).code, 0, 'the same again is no conflict');

    writeFileSync(file, '# mine\n');
    const refused = await run('containerd', '--url', 'https://other.example.test', '--output', output);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /differ: certs\.d\/docker\.io\/hosts\.toml, certs\.d\/registry/);
    assert.match(refused.stderr, /--force/);
    assert.equal(readFileSync(file, 'utf8'), '# mine\n');
    const other = readFileSync(join(output, 'certs.d/registry.example.test_5000_/hosts.toml'), 'utf8');
    assert.match(other, /cache\.example\.test/, 'nothing is written where one file is refused');

    assert.equal((await run('containerd', ...options, '--force')).code, 0);
    assert.equal(readFileSync(file, 'utf8'), content);
  });

  test('wrong usage is exit code 2, and says what to write', async () => {
    const cases: [string[], RegExp][] = [
      [['crio'], /Allowed choices are containerd, docker, podman/],
      [[], /missing required argument 'client'/],
      [['docker', '--url', 'cache.example.test'], /entrepot: --url "cache\.example\.test" is not a URL; write https:/],
      [['docker', '--url', 'https://cache.example.test/v2/'], /has a path or query/],
      [['podman', '--output', join(folder, 'entrepot.yaml')], /--output .* cannot be written/],
      [['podman', '--force'], /--force needs --output/],
    ];
    for (const [args, message] of cases) {
      const { code, stdout, stderr } = await run(...args);
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, message);
      assert.equal(stdout, '');
    }
    const { code, stdout } = await run('docker', '--json', '--url', 'https://u:secret@cache.example.test');
    assert.equal(code, 2);
    const { error } = JSON.parse(stdout) as FailureDocument;
    assert.match(error.message, /holds a user name or password/);
    assert.ok(!stdout.includes('secret'));
  });
});
