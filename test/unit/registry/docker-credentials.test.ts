import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import type { Credentials, IssuedCredentials } from '../../../lib/registry/credential-reader.ts';
import { DockerCredentials } from '../../../lib/registry/docker-credentials.ts';
import { parseEcrHost } from '../../../lib/registry/settings.ts';

let folder = '';
const path = process.env.PATH;
const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A helper that knows one registry of each kind. */
const HELPER = `#!/bin/sh
read -r server
case "$1 $server" in
  "get helped.example.test") echo '{"ServerURL":"x","Username":"helper-user","Secret":"helper-word"}' ;;
  "get token.example.test") echo '{"ServerURL":"x","Username":"<token>","Secret":"refresh-me"}' ;;
  "get broken.example.test") echo 'vault is sealed'; exit 1 ;;
  "get garbage.example.test") echo 'not json' ;;
  "get endless.example.test") exec yes ;;
  "get empty.example.test") echo '{"ServerURL":"","Username":"","Secret":""}' ;;
  "get https://index.docker.io/v1/") echo '{"Username":"hub-user","Secret":"hub-word"}' ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`;

describe('the credentials of Docker', () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'entrepot-docker-'));
    await writeFile(join(folder, 'docker-credential-fake'), HELPER);
    await chmod(join(folder, 'docker-credential-fake'), 0o755);
    process.env.PATH = `${folder}:${path ?? ''}`;
  });

  after(async () => {
    process.env.PATH = path;
    await rm(folder, { recursive: true });
  });

  async function issuedOf(
    config: unknown,
    name: string,
    endpoint = `https://${name}`,
  ): Promise<IssuedCredentials | undefined> {
    const file = join(folder, 'config.json');
    await writeFile(file, typeof config === 'string' ? config : JSON.stringify(config));
    const reader = new DockerCredentials(file, { name, endpoint: new URL(endpoint) });
    return await reader.read(AbortSignal.timeout(10_000));
  }

  const credentialsOf = async (...args: Parameters<typeof issuedOf>): Promise<Credentials | undefined> =>
    (await issuedOf(...args))?.credentials;

  const basic = (username: string, password: string): Credentials => ({ kind: 'basic', username, password });

  test('docker config: auth of a host, the password may hold colons', async () => {
    const config = { auths: { 'registry.example.test': { auth: base64('bob:pa:ss\0\0') } } };
    assert.deepEqual(await credentialsOf(config, 'registry.example.test'), basic('bob', 'pa:ss'));
  });

  test('docker config: keys are hosts or URLs, ports count, other hosts do not', async () => {
    const config = {
      auths: {
        'https://a.example.test/v2/': { username: 'a', password: '1' },
        'http://b.example.test:5000': { username: 'b', password: '2' },
        'c.example.test/team': { username: 'c', password: '3' },
      },
    };
    assert.deepEqual(await credentialsOf(config, 'a.example.test'), basic('a', '1'));
    assert.deepEqual(await credentialsOf(config, 'b.example.test:5000'), basic('b', '2'));
    assert.equal(await credentialsOf(config, 'b.example.test'), undefined);
    assert.equal(await credentialsOf(config, 'c.example.test'), undefined);
    assert.equal(await credentialsOf(config, 'example.test'), undefined);
  });

  test('docker config: Docker Hub by its old key', async () => {
    const config = { auths: { 'https://index.docker.io/v1/': { auth: base64('hub:word') } } };
    assert.deepEqual(await credentialsOf(config, 'docker.io', 'https://registry-1.docker.io'), basic('hub', 'word'));
  });

  test('docker config: the endpoint is looked up after the name', async () => {
    const config = { auths: { '127.0.0.1:5100': { auth: base64('local:word') } } };
    assert.deepEqual(await credentialsOf(config, 'r.example.test', 'http://127.0.0.1:5100'), basic('local', 'word'));
  });

  test('docker config: an identity token wins over its auth', async () => {
    const config = { auths: { 'r.example.test': { auth: base64('0000:'), identitytoken: 'refresh-me' } } };
    assert.deepEqual(await credentialsOf(config, 'r.example.test'), {
      kind: 'identity',
      username: '0000',
      identityToken: 'refresh-me',
    });
  });

  test('docker config: the helper of a registry, and its tokens', async () => {
    const config = { credHelpers: { 'helped.example.test': 'fake', 'token.example.test': 'fake' } };
    assert.deepEqual(await credentialsOf(config, 'helped.example.test'), basic('helper-user', 'helper-word'));
    assert.deepEqual(await credentialsOf(config, 'token.example.test'), {
      kind: 'identity',
      identityToken: 'refresh-me',
    });
  });

  test('docker config: the store, and auths for what it does not know', async () => {
    const config = { credsStore: 'fake', auths: { 'other.example.test': { auth: base64('file:word') } } };
    assert.deepEqual(await credentialsOf(config, 'helped.example.test'), basic('helper-user', 'helper-word'));
    assert.deepEqual(await credentialsOf(config, 'other.example.test'), basic('file', 'word'));
    assert.equal(await credentialsOf(config, 'third.example.test'), undefined);
  });

  test('docker config: keys with scheme and path are for their host, the exact key wins, an empty entry hides nothing', async () => {
    const keys = [
      'https://r.example.test',
      'http://r.example.test/v2/',
      'https://R.example.TEST/some/path?x',
      'r.example.test/v1',
    ];
    for (const key of [...keys, 'r.example.test/', 'HTTPS://r.example.test/v1/']) {
      const entry = { auth: base64('bob:word') };
      assert.deepEqual(await credentialsOf({ auths: { [key]: entry } }, 'r.example.test'), basic('bob', 'word'), key);
      for (const empty of [{}, null, { auth: '' }, { auth: base64(':') }, { email: 'x@example.test' }, { auth: 7 }]) {
        const config = { auths: { 'r.example.test': empty, [key]: entry } };
        assert.deepEqual(await credentialsOf(config, 'r.example.test'), basic('bob', 'word'), JSON.stringify(config));
      }
      for (const other of [
        'https://other.example.test/r.example.test',
        'r.example.test.evil.test',
        'r.example.test:5000',
      ]) {
        assert.equal(await issuedOf({ auths: { [other]: entry } }, 'r.example.test'), undefined, other);
      }
      const both = { auths: { [key]: entry, 'r.example.test': { auth: base64('exact:word') } } };
      assert.deepEqual(await credentialsOf(both, 'r.example.test'), basic('exact', 'word'));
    }
  });

  test('docker config: keys of podman name a namespace or a repository', async () => {
    const entry = (user: string): object => ({ auth: base64(`${user}:word`) });
    const auths = {
      'r.example.test/team': entry('team'),
      'R.example.test/team/app/': entry('app'),
      'r.example.test/empty': {},
      'r.example.test:5000/team': entry('port'),
    };
    const issued = await issuedOf({ auths }, 'r.example.test');
    assert.equal(issued?.credentials, undefined);
    assert.deepEqual(
      issued?.namespaces,
      new Map([
        ['team', basic('team', 'word')],
        ['team/app', basic('app', 'word')],
      ]),
    );
    const whole = { auths: { ...auths, 'https://r.example.test/v1/': entry('whole') }, credsStore: 'fake' };
    const beside = await issuedOf(whole, 'r.example.test');
    assert.deepEqual([beside?.credentials, beside?.namespaces?.size], [basic('whole', 'word'), 2]);
    const hub = { auths: { 'docker.io/library': entry('hub') } };
    assert.deepEqual((await issuedOf(hub, 'docker.io', 'https://registry-1.docker.io'))?.namespaces?.size, 1);
  });

  test('docker config: a token of the registry itself', async () => {
    const entry = { auth: base64('bob:word'), registrytoken: 'registry-word' };
    const config = { auths: { 'r.example.test': entry } };
    assert.deepEqual(await credentialsOf(config, 'r.example.test'), { kind: 'bearer', token: 'registry-word' });
    const bad = { auths: { 'r.example.test': { registrytoken: 'one\r\nx: y' } } };
    await assert.rejects(
      credentialsOf(bad, 'r.example.test'),
      /"registrytoken" with characters that a header cannot carry/,
    );
    assert.equal(await credentialsOf(bad, 'other.example.test'), undefined);
  });

  test('docker config: the helper of a registry alone decides, "" stands for the file', async () => {
    const file = { auth: base64('file:word') };
    for (const host of ['unknown.example.test', 'empty.example.test']) {
      const config = {
        credHelpers: { [host]: 'fake' },
        credsStore: 'absent',
        auths: { [host]: file, [`${host}/team`]: file },
      };
      assert.equal(await issuedOf(config, host), undefined, host);
    }
    const config = { credHelpers: { 'r.example.test': '' }, credsStore: 'absent', auths: { 'r.example.test': file } };
    assert.deepEqual(await credentialsOf(config, 'r.example.test'), basic('file', 'word'));
    assert.equal(await credentialsOf({ credsStore: 'fake' }, 'empty.example.test'), undefined);
  });

  test('docker config: helpers are asked for the host of their entry, Docker Hub by its one key', async () => {
    const helped = { credHelpers: { 'https://helped.example.test': 'fake' } };
    assert.deepEqual(
      await credentialsOf(helped, 'r.example.test', 'https://helped.example.test'),
      basic('helper-user', 'helper-word'),
    );
    const store = { credsStore: 'fake' };
    assert.deepEqual(
      await credentialsOf(store, 'r.example.test', 'https://helped.example.test'),
      basic('helper-user', 'helper-word'),
    );
    for (const key of ['docker.io', 'index.docker.io', 'https://index.docker.io/v1/']) {
      const hub = { credHelpers: { [key]: 'fake' } };
      assert.deepEqual(
        await credentialsOf(hub, 'docker.io', 'http://10.0.0.1:5000'),
        basic('hub-user', 'hub-word'),
        key,
      );
    }
  });

  test('docker config: a file with nothing in it is no credentials, one that is no object is an error', async () => {
    for (const text of [
      '',
      ' \n\t',
      'null',
      '{}',
      '{"auths":null}',
      '{"auths":{},"credsStore":""}',
      '{"credsStore":null}',
    ]) {
      assert.equal(await issuedOf(text, 'a.test'), undefined, JSON.stringify(text));
    }
    for (const text of ['[]', '"a"', '7', 'true']) await assert.rejects(issuedOf(text, 'a.test'), /not a JSON object/);
  });

  test('docker config: a byte order mark is refused, as Docker does, and named', async () => {
    for (const text of ['\ufeff{"auths":{}}', '\ufeff', '\ufeff\n']) {
      await assert.rejects(issuedOf(text, 'a.test'), /config\.json cannot be read: .*byte order mark.*save it without/);
    }
  });

  test('docker config: helpers that fail say so', async () => {
    const store = { credsStore: 'fake' };
    await assert.rejects(credentialsOf(store, 'broken.example.test'), /docker-credential-fake failed.*vault is sealed/);
    await assert.rejects(credentialsOf(store, 'garbage.example.test'), ConfigError);
    await assert.rejects(credentialsOf(store, 'endless.example.test'), ConfigError);
    await assert.rejects(credentialsOf({ credsStore: 'absent' }, 'x.example.test'), /docker-credential-absent/);
    await assert.rejects(credentialsOf({ credsStore: '../evil' }, 'x.example.test'), /letters, digits/);
    await assert.rejects(credentialsOf({ credsStore: 'a b;c' }, 'x.example.test'), /letters, digits/);
  });

  test('docker config: no file is no credentials; a broken one is an error that shows nothing of it', async () => {
    const absent = new DockerCredentials(join(folder, 'absent.json'), {
      name: 'a.test',
      endpoint: new URL('https://a.test'),
    });
    assert.equal(await absent.read(AbortSignal.timeout(1000)), undefined);
    await assert.rejects(
      credentialsOf('{"auths": {"a.test": {"password": "hunter2" oops', 'a.test'),
      (error: Error) => error instanceof ConfigError && !error.message.includes('hunter2') && error.cause === undefined,
    );
  });

  test('ECR hosts: account and region', () => {
    const place = { accountId: '123456789012', region: 'eu-central-1' };
    assert.deepEqual(parseEcrHost('123456789012.dkr.ecr.eu-central-1.amazonaws.com'), place);
    assert.deepEqual(parseEcrHost('123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com')?.region, 'us-gov-west-1');
    assert.deepEqual(parseEcrHost('123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn')?.region, 'cn-north-1');
    assert.deepEqual(parseEcrHost('123456789012.dkr-ecr.eu-central-1.on.aws'), place);
    for (const host of ['public.ecr.aws', 'evil.test', '123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.test']) {
      assert.equal(parseEcrHost(host), undefined);
    }
  });
});
