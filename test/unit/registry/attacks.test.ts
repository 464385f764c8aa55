import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ConfigError, UpstreamRefusedError } from '../../../lib/errors/cache-error.ts';
import { ConfiguredHosts } from '../../../lib/registry/address.ts';
import { createConnections } from '../../../lib/registry/connector.ts';
import type { Credentials } from '../../../lib/registry/credential-reader.ts';
import { DockerCredentials } from '../../../lib/registry/docker-credentials.ts';
import { clean } from '../../../lib/registry/failure.ts';
import { parseRetryAfterMs } from '../../../lib/registry/retry.ts';
import type { RegistrySettings, UpstreamLimits } from '../../../lib/registry/settings.ts';

let folder = '';
const path = process.env.PATH;
const pidFile = (): string => join(folder, 'pids');

/** A helper that fails in every way there is. `holds` and `hangs` leave a child that keeps the output open. */
const helper = (): string => `#!/bin/sh
read -r server
case "$server" in
  holds.test) sleep 60 & echo $! >>'${pidFile()}'; echo '{"Username":"bob","Secret":"word"}' ;;
  hangs.test) sleep 60 & echo $! >>'${pidFile()}'; wait ;;
  answer.test) echo '{"ServerURL":"x","Username":"bob","Secret":"hunter2"}'; exit 1 ;;
  half.test) printf '{"Username":"bob",\\n"Secr'; exit 1 ;;
  debug.test) printf 'got it\\nSecret: hunter2\\n'; exit 1 ;;
  word.test) echo '"hunter2"'; exit 1 ;;
  lines.test) printf 'vault is sealed\\nand the key is hunter2\\n'; exit 1 ;;
esac
`;

describe('hostile helpers and registries', () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-attacks-'));
    await writeFile(join(folder, 'docker-credential-bad'), helper());
    await chmod(join(folder, 'docker-credential-bad'), 0o755);
    await writeFile(pidFile(), '');
    process.env.PATH = `${folder}:${path ?? ''}`;
  });

  after(async () => {
    for (const pid of (await readFile(pidFile(), 'utf8')).split('\n').filter(Boolean)) process.kill(Number(pid));
    process.env.PATH = path;
    await rm(folder, { recursive: true });
  });

  async function askHelper(
    name: string,
    signal = AbortSignal.timeout(10_000),
    credsStore: unknown = 'bad',
  ): Promise<Credentials | undefined> {
    const file = join(folder, `${name}.json`);
    await writeFile(file, JSON.stringify({ credsStore }));
    const reader = new DockerCredentials(file, { name, endpoint: new URL(`https://${name}`) });
    return (await reader.read(signal))?.credentials;
  }

  const elapsedMs = (sinceMs: number): number => performance.now() - sinceMs;

  test('a helper whose child keeps the output open has answered when it ends', async () => {
    const startMs = performance.now();
    assert.deepEqual(await askHelper('holds.test'), { kind: 'basic', username: 'bob', password: 'word' });
    assert.ok(elapsedMs(startMs) < 5000);
  });

  test('a helper that hangs with a child is left at the signal', async () => {
    const startMs = performance.now();
    const stop = new AbortController();
    const reason = new Error('deadline');
    setTimeout(() => stop.abort(reason), 300);
    await assert.rejects(askHelper('hangs.test', stop.signal), reason);
    assert.ok(elapsedMs(startMs) < 5000);
  });

  for (const name of ['answer.test', 'half.test', 'debug.test', 'word.test', 'lines.test']) {
    test(`a failed helper's answer is not shown: ${name}`, async () => {
      await assert.rejects(askHelper(name), (error) => {
        assert.ok(error instanceof ConfigError);
        assert.doesNotMatch(error.message, /hunter2|bob|Secr/);
        assert.match(error.message, name === 'lines.test' ? /: vault is sealed$/ : /: exit code 1$/);
        return true;
      });
    });
  }

  test('a helper that is no string is not shown, a long name is cut', async () => {
    await assert.rejects(askHelper('object.test', undefined, { password: 'hunter2' }), (error) => {
      return error instanceof ConfigError && !error.message.includes('hunter2');
    });
    await assert.rejects(askHelper('long.test', undefined, '! '.repeat(100_000)), (error) => {
      return error instanceof ConfigError && error.message.length < 500;
    });
  });

  test('clean: 64 KiB of anything cost no time', () => {
    const parts = ['?', 'a.', 'a-', 'h://', 'x', 'eyJ', '\u0001a', 'bearer ', `bearer${' '.repeat(100)}`, 'a@', '?a '];
    const texts = parts.map((part) => part.repeat(65_536 / part.length));
    const startMs = performance.now();
    for (const text of texts) assert.ok(clean(text).length <= 201);
    assert.ok(elapsedMs(startMs) < 500, `${elapsedMs(startMs)} ms`);
  });

  test('clean: the cut leaves no half of a secret', () => {
    // The password ends behind the cut, and what stands before it shrinks to nothing.
    const text = `${'x'.repeat(970)} https://bob:${'hunter2'.repeat(20)}@host/`;
    assert.doesNotMatch(clean(text), /hunter2/);
    assert.doesNotMatch(clean('hunter2'.repeat(200)), /hunter2/);
    assert.equal(clean('see https://bob:pa@ss@host/x'), 'see https://host/x');
    assert.equal(clean(`token:${'k'.repeat(64)} sha256:${'a'.repeat(64)}`), `token:… sha256:${'a'.repeat(64)}`);
  });

  test('Retry-After: never endless', () => {
    const dayMs = 86_400_000;
    assert.equal(parseRetryAfterMs('9'.repeat(400), 0), dayMs);
    assert.equal(parseRetryAfterMs('Fri, 31 Dec 9999 23:59:59 GMT', 0), dayMs);
  });

  test('behind a proxy, names and addresses of private networks are refused unseen (I8)', async () => {
    const settings: RegistrySettings = {
      name: 'registry.example.test',
      endpoint: new URL('https://registry.example.test'),
      endpointMayBePrivate: false,
      mirrors: [],
      isPublic: true,
      credentials: { kind: 'none' },
      realms: [],
      redirects: [],
      passRedirects: [],
      allow: [],
      platforms: [],
      maxConnections: 1,
      proxy: new URL('http://127.0.0.1:9'),
    };
    const limits: UpstreamLimits = {
      manifestBytes: 1,
      redirects: 1,
      attempts: 1,
      retryAfterMaxMs: 1,
      connectTimeoutMs: 1000,
      headersTimeoutMs: 1000,
      bodyTimeoutMs: 1000,
      stalls: 1,
    };
    const connections = createConnections(settings, new ConfiguredHosts(settings), limits);
    const hosts =
      'vault vault.internal. a.local localhost x.localhost x.localdomain nas.home.arpa 10.0.0.1 [::1] 127.1';
    for (const host of hosts.split(' ')) {
      assert.throws(() => connections.to(new URL(`https://${host}/x`), 'public', 'short'), UpstreamRefusedError, host);
    }
    for (const host of ['cdn.example.test', 'internal.example.test', '8.8.8.8']) {
      assert.doesNotThrow(() => connections.to(new URL(`https://${host}/x`), 'public', 'short'));
    }
    await connections.destroy();
  });
});
