import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { helperSettings, hostOf } from '../../../lib/config/credential-helper.ts';
import { inboundOf, type InboundTarget } from '../../../lib/config/serve.ts';
import { storeOf } from '../../../lib/config/environment.ts';
import { problems } from '../../../lib/config/problems.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-inbound-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const HERE: InboundTarget = { folder, onAws: false, front: 'httpApi' };
const AWS: InboundTarget = { ...HERE, onAws: true };

function inbound(section: unknown, target: InboundTarget = HERE) {
  const found = problems();
  const auth = inboundOf(section, target, found);
  found.throwIfAny(undefined);
  return auth;
}

const assertProblem = (section: unknown, target: InboundTarget, expected: RegExp): void =>
  assert.throws(
    () => inbound(section, target),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message.split('\n  ')[1] ?? '', expected);
      return !error.message.includes('hunter2');
    },
  );

describe('serve.auth', () => {
  test('asks nobody on this machine, and for minted passwords on AWS, where it says nothing', () => {
    for (const nothing of [undefined, null]) {
      assert.deepEqual(inbound(nothing), { kind: 'none' });
      assert.deepEqual(inbound(nothing, AWS), { kind: 'basic' });
    }
  });

  test('is none, tokens, or users of a file beside the configuration or of a secret', () => {
    writeFileSync(join(folder, 'users.yaml'), '[]');
    assert.deepEqual(inbound('none'), { kind: 'none' });
    assert.deepEqual(inbound('tokens', AWS), { kind: 'basic' });
    assert.deepEqual(inbound({ users: { file: 'users.yaml' } }), {
      kind: 'basic',
      users: { file: join(folder, 'users.yaml') },
    });
    for (const target of [HERE, AWS]) {
      const users = { secretId: 'entrepot/users' };
      assert.deepEqual(inbound({ users: { secret: 'entrepot/users' } }, target), { kind: 'basic', users });
    }
  });

  test('names what it does not understand, and shows no value', () => {
    const others = ['hunter2', 3, [], {}, { users: [] }, { users: { hunter2: 'hunter2' } }, { basic: {} }];
    for (const other of [...others, { users: { file: 'a', secret: 'b' } }, { users: { secret: '' } }]) {
      assertProblem(other, HERE, /^serve\.auth.*: .*write /);
    }
    assertProblem({ users: { file: 'absent.yaml' } }, HERE, /^serve\.auth\.users\.file: .*there is no such file/);
  });

  test('on AWS somebody is asked at the door to the internet, and there are no files', () => {
    assertProblem('none', AWS, /^serve\.auth: is none, but everyone on the internet/);
    assert.deepEqual(inbound('none', { ...AWS, front: 'alb' }), { kind: 'none' });
    assertProblem(
      { users: { file: 'users.yaml' } },
      AWS,
      /^serve\.auth\.users\.file: is a file, but functions have none/,
    );
  });
});

test('the environment names the secret, or the file, that signs passwords', () => {
  const place = (more: Readonly<Record<string, string>>) => {
    const variables: Readonly<Record<string, string>> = { ENTREPOT_BUCKET: 'b', ENTREPOT_TABLE: 't', ...more };
    return storeOf((name) => variables[name], '/srv', false, problems());
  };
  const known = { kind: 'aws', bucket: 'b', table: 't', s3PathStyle: false };
  assert.deepEqual(place({}), known);
  assert.deepEqual(place({ ENTREPOT_SIGNING_SECRET: 'arn' }), { ...known, signingSecret: 'arn' });
  assert.deepEqual(place({ ENTREPOT_SIGNING_KEY_FILE: 'key' }), { ...known, signingKeyFile: '/srv/key' });
});

describe('the settings of a credential helper', () => {
  const URL_TEXT = 'https://abc.execute-api.eu-central-1.amazonaws.com';

  test('come from variables', () => {
    const { url, registries, region, lifetimeSeconds } = helperSettings({ ENTREPOT_URL: `${URL_TEXT}/v1/` }, folder);
    assert.deepEqual([url.href, [...registries]], [`${URL_TEXT}/`, ['abc.execute-api.eu-central-1.amazonaws.com']]);
    assert.deepEqual([region, lifetimeSeconds], [undefined, 3_600]);
    const more = helperSettings(
      { ENTREPOT_URL: URL_TEXT, ENTREPOT_REGISTRIES: 'Cache.example.test:443, b:5000' },
      folder,
    );
    assert.deepEqual([...more.registries], ['cache.example.test', 'b:5000']);
  });

  test('or from a file, which may be named, and must be whole', () => {
    const file = join(folder, 'helper.json');
    writeFileSync(
      file,
      JSON.stringify({ url: URL_TEXT, registries: ['cache.example.test'], region: 'eu-west-1', lifetimeSeconds: 900 }),
    );
    const settings = helperSettings({ ENTREPOT_HELPER_CONFIG: file }, folder);
    assert.deepEqual(
      [[...settings.registries], settings.region, settings.lifetimeSeconds],
      [['cache.example.test'], 'eu-west-1', 900],
    );
    const broken = [
      '',
      '[]',
      '{"uri": "x"}',
      '{"url": 3}',
      `{"url": "${URL_TEXT}", "registries": []}`,
      `{"url": "${URL_TEXT}", "lifetimeSeconds": 7200}`,
    ];
    for (const text of broken) {
      writeFileSync(file, text);
      assert.throws(() => helperSettings({ ENTREPOT_HELPER_CONFIG: file }, folder), ConfigError, text);
    }
    assert.throws(() => helperSettings({ ENTREPOT_HELPER_CONFIG: 'absent' }, folder), /there is no such file/);
    assert.throws(() => helperSettings({ HOME: folder }, folder), /ENTREPOT_URL is not set/);
  });

  test('lead to https, or to this machine', () => {
    helperSettings({ ENTREPOT_URL: 'http://127.0.0.1:8400' }, folder);
    for (const url of [
      'http://cache.example.test',
      'ftp://a.test',
      'https://u:p@a.test',
      'https://a.test/?x',
      'a.test',
    ]) {
      assert.throws(() => helperSettings({ ENTREPOT_URL: url }, folder), ConfigError, url);
    }
  });

  test('a registry is its host, however a client calls it', () => {
    const calls: [string, string][] = [
      ['https://Cache.example.test/v2/', 'cache.example.test'],
      ['cache.example.test:443', 'cache.example.test'],
      ['cache.example.test/team/app:v1@sha256:00', 'cache.example.test'],
      ['127.0.0.1:5000/app', '127.0.0.1:5000'],
      ['https://cache.example.test@evil.test/', 'cache.example.test@evil.test'],
      ['', ''],
    ];
    for (const [server, host] of calls) assert.equal(hostOf(server), host);
  });
});
