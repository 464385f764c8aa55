import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import type { askToken } from '../../../lib/cli/credential-helper/ask-token.ts';
import { answerDocker } from '../../../lib/cli/credential-helper/docker-credential-entrepot.ts';
import { answerKubelet } from '../../../lib/cli/credential-helper/kubelet-credential-entrepot.ts';
import { helperSettings } from '../../../lib/config/credential-helper.ts';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';

const settings = helperSettings({
  ENTREPOT_URL: 'https://api.example.test',
  ENTREPOT_REGISTRIES: 'cache.example.test',
});
const input = (text: string) => Readable.from([Buffer.from(text)]);

function asker(lifetimeMs = 3_600_000) {
  const state = { asked: 0 };
  const ask: typeof askToken = () => {
    state.asked += 1;
    const expiresAt = new Date(Date.now() + lifetimeMs).toISOString();
    return Promise.resolve({ username: 'token', password: 'v1.a.b', expiresAt });
  };
  return { state, ask };
}

describe('docker-credential-entrepot', () => {
  test('mints a password for our registry, by whatever name the client calls it', async () => {
    const { ask, state } = asker();
    for (const server of ['cache.example.test', 'https://cache.example.test/v2/\n']) {
      const { output, exitCode } = await answerDocker('get', input(server), () => settings, ask);
      assert.equal(exitCode, 0);
      assert.deepEqual(JSON.parse(output), { ServerURL: server.trim(), Username: 'token', Secret: 'v1.a.b' });
    }
    assert.equal(state.asked, 2);
  });

  test('knows nothing for any other, and asks nobody', async () => {
    const { ask, state } = asker();
    for (const server of [
      'https://index.docker.io/v1/',
      'cache.example.test.evil.test',
      'evil.test/cache.example.test',
      '',
    ]) {
      assert.deepEqual(await answerDocker('get', input(server), () => settings, ask), {
        output: 'credentials not found in native keychain',
        exitCode: 1,
      });
    }
    assert.equal(state.asked, 0);
  });

  test('keeps nothing: what is stored is taken and forgotten, and the list is empty', async () => {
    const { ask, state } = asker();
    const unset = () => assert.fail('no settings are needed');
    const stored = input('{"ServerURL": "x", "Username": "y", "Secret": "z"}');
    assert.deepEqual(await answerDocker('store', stored, unset, ask), { output: '', exitCode: 0 });
    assert.ok(stored.readableEnded);
    assert.deepEqual(await answerDocker('erase', input('x'), unset, ask), { output: '', exitCode: 0 });
    assert.deepEqual(await answerDocker('list', input(''), unset, ask), { output: '{}', exitCode: 0 });
    assert.equal((await answerDocker(undefined, input(''), unset, ask)).exitCode, 1);
    assert.equal(state.asked, 0);
  });

  test('takes 64 KiB of input', async () => {
    const much = input('x'.repeat(65 * 1024));
    await assert.rejects(
      answerDocker('get', much, () => settings, asker().ask),
      InvalidRequestError,
    );
  });
});

describe('kubelet-credential-entrepot', () => {
  const request = (image: string): string =>
    JSON.stringify({ apiVersion: 'credentialprovider.kubelet.k8s.io/v1', kind: 'CredentialProviderRequest', image });
  const head = { apiVersion: 'credentialprovider.kubelet.k8s.io/v1', kind: 'CredentialProviderResponse' };

  test('gives a password for our registry, kept until a pull could outlast it', async () => {
    const image = 'cache.example.test/docker.io/library/alpine:3.20';
    const answer = (await answerKubelet(input(request(image)), settings, asker().ask)) as Record<string, unknown>;
    const { cacheDuration, ...rest } = answer;
    const auth = { 'cache.example.test': { username: 'token', password: 'v1.a.b' } };
    assert.deepEqual(rest, { ...head, cacheKeyType: 'Registry', auth });
    const seconds = Number(/^(\d+)s$/.exec(String(cacheDuration))?.[1]);
    assert.ok(seconds > 2_690 && seconds <= 2_700, String(cacheDuration));
    const short = (await answerKubelet(input(request(image)), settings, asker(60_000).ask)) as {
      cacheDuration: string;
    };
    assert.equal(short.cacheDuration, '0s');
  });

  test('none for any other image', async () => {
    const { ask, state } = asker();
    const answer = await answerKubelet(input(request('docker.io/library/alpine')), settings, ask);
    assert.deepEqual(answer, { ...head, cacheKeyType: 'Registry', cacheDuration: '0s', auth: {} });
    assert.equal(state.asked, 0);
  });

  test('refuses what is no request of this version', async () => {
    for (const text of ['', '[]', 'null', '{}', request('x').replace('/v1', '/v2'), '{"image": "x"}']) {
      await assert.rejects(answerKubelet(input(text), settings, asker().ask), InvalidRequestError, text);
    }
  });
});
