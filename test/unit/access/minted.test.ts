import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createHmac, createPrivateKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { derivedSigningKey } from '../../../lib/access/signing-key.ts';
import { mintPassword, verifyMinted, type MintedCaller } from '../../../lib/access/minted.ts';
import { CacheError, InvalidRequestError, UnauthenticatedError } from '../../../lib/errors/cache-error.ts';
import { publishedHere } from '../../support/published-key.ts';

const NOW = 1_700_000_000_000;
const signal = new AbortController().signal;
const at = (ms: number) => ({ signal, now: () => ms });
const signingKeyOf = (secret: string) => derivedSigningKey('test', () => Promise.resolve(secret.repeat(40)));
const publishedKey = publishedHere(() => NOW);
const keys = { signingKey: signingKeyOf('s'), publishedKey };
const ci: MintedCaller = { kind: 'iam', arn: 'arn:aws:iam::123456789012:role/ci' };

const minted = async (caller: MintedCaller = ci, seconds = 900) =>
  (await mintPassword(keys, caller, seconds, at(NOW))).password;

describe('a minted password', () => {
  test('says who it was minted for until it expires, and not for a millisecond more', async () => {
    const { password, expiresAtMs } = await mintPassword(keys, ci, 900, at(NOW));
    assert.equal(expiresAtMs, NOW + 900_000);
    assert.match(password, /^v1\.[\w-]+\.[\w-]{86}$/);
    assert.deepEqual(await verifyMinted(publishedKey, password, at(expiresAtMs - 1)), ci);
    await assert.rejects(verifyMinted(publishedKey, password, at(expiresAtMs)), UnauthenticatedError);
  });

  test('holds caller and time, and no secret', async () => {
    const [, payload = ''] = (await minted()).split('.');
    assert.deepEqual(JSON.parse(Buffer.from(payload, 'base64url').toString()), {
      ...{ arn: ci.arn },
      exp: NOW / 1000 + 900,
    });
  });

  test('of a JWT has the values of the claim', async () => {
    const jane: MintedCaller = { kind: 'jwt', subject: 'jane', values: ['ops', 'dev team'] };
    assert.deepEqual(await verifyMinted(publishedKey, await minted(jane), at(NOW)), jane);
    const many: MintedCaller = {
      kind: 'jwt',
      subject: 'jane',
      values: Array.from({ length: 400 }, (_, i) => `group-${i}`),
    };
    await assert.rejects(minted(many), InvalidRequestError);
  });

  test('is minted for a second to an hour', async () => {
    for (const seconds of [0, -1, 3_601, Number.NaN, Infinity])
      await assert.rejects(minted(ci, seconds), InvalidRequestError);
  });

  test('is right until its end, also for clocks that are five minutes ahead', async () => {
    const until: number[] = [];
    const noting = {
      ...publishedKey,
      renew: (_key: KeyObject, untilMs: number) => Promise.resolve(until.push(untilMs) > 0),
    };
    for (const seconds of [1, 3_600]) await mintPassword({ ...keys, publishedKey: noting }, ci, seconds, at(NOW));
    assert.deepEqual(until, [NOW + 65 * 60_000, NOW + 65 * 60_000], 'the shorter does not end the longer');
  });

  test('with any character changed, added or left out is refused, and is not told', async () => {
    const password = await minted();
    const change = fc.tuple(fc.nat(password.length), fc.constantFrom('', 'A', 'b', '-', '.', '=', '\u00e9'), fc.nat(1));
    await fc.assert(
      fc.asyncProperty(change, async ([index, text, left]) => {
        const other = password.slice(0, index) + text + password.slice(index + left);
        fc.pre(other !== password);
        await assert.rejects(
          verifyMinted(publishedKey, other, at(NOW)),
          (error) => error instanceof UnauthenticatedError && !error.message.includes(password.slice(0, 20)),
        );
      }),
    );
  });

  test('has one form: the bits of its last character that say nothing are zero', async () => {
    const password = await minted();
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    for (const last of alphabet) {
      const other = password.slice(0, -1) + last;
      if (other !== password) await assert.rejects(verifyMinted(publishedKey, other, at(NOW)), UnauthenticatedError);
    }
  });

  test('of another version, or nonsense, is refused', async () => {
    const password = await minted();
    for (const other of ['', 'v1', 'v1..', password.replace('v1', 'v2'), `${password}.x`, 'x'.repeat(100_000)]) {
      await assert.rejects(verifyMinted(publishedKey, other, at(NOW)), UnauthenticatedError);
    }
  });
});

describe('who has the public key alone, as the function at the door', () => {
  const claims = { arn: 'arn:aws:iam::123456789012:role/admin', exp: NOW / 1000 + 900 };
  const signed = `v1.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  const bytesOf = (key: KeyObject): Buffer => Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
  const privateOf = (seed: Buffer): KeyObject =>
    createPrivateKey({
      key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
      format: 'der',
      type: 'pkcs8',
    });

  test('holds a key that does not sign', async () => {
    await minted();
    const key = await publishedKey.find(signal);
    assert.equal(key?.type, 'public');
    assert.throws(() => sign(null, Buffer.from(signed), key), /Invalid key object type public|ERR_CRYPTO/);
  });

  const forgeries: [string, (key: KeyObject) => Buffer][] = [
    ['an HMAC of it', (key) => createHmac('sha512', bytesOf(key)).update(signed).digest()],
    ['it as the seed of a private key', (key) => sign(null, Buffer.from(signed), privateOf(bytesOf(key)))],
    ['a key of its own', () => sign(null, Buffer.from(signed), generateKeyPairSync('ed25519').privateKey)],
    ['zeros', () => Buffer.alloc(64)],
    ['the key, and a zero', (key) => Buffer.concat([bytesOf(key), Buffer.alloc(32)])],
    ['the neutral point, and a zero', () => Buffer.concat([Buffer.of(1), Buffer.alloc(63)])],
  ];
  for (const [what, signatureBy] of forgeries) {
    test(`mints nothing by ${what}`, async () => {
      await minted();
      const key = await publishedKey.find(signal);
      assert.ok(key !== undefined);
      const forged = `${signed}.${signatureBy(key).toString('base64url')}`;
      await assert.rejects(verifyMinted(publishedKey, forged, at(NOW)), UnauthenticatedError);
    });
  }

  test('mints nothing by the signature of another password', async () => {
    const [, , signature = ''] = (await minted()).split('.');
    await assert.rejects(verifyMinted(publishedKey, `${signed}.${signature}`, at(NOW)), UnauthenticatedError);
  });
});

describe('the secret is replaced', () => {
  test('its next password ends all of the one before', async () => {
    const published = publishedHere(() => NOW);
    const by = (secret: string) =>
      mintPassword({ signingKey: signingKeyOf(secret), publishedKey: published }, ci, 900, at(NOW));
    const old = (await by('s')).password;
    assert.deepEqual(await verifyMinted(published, old, at(NOW)), ci);
    const fresh = (await by('t')).password;
    assert.deepEqual(await verifyMinted(published, fresh, at(NOW)), ci);
    await assert.rejects(verifyMinted(published, old, at(NOW)), UnauthenticatedError);
  });

  test('a process that has the old one reads it again, and does not take it back', async () => {
    const published = publishedHere(() => NOW);
    let [secret, isUp, nowMs] = ['s', true, NOW];
    const down = new CacheError('gone', { op: 'read secret', origin: 'store', retryable: true });
    const read = (): Promise<string> => (isUp ? Promise.resolve(secret.repeat(40)) : Promise.reject(down));
    const here = { publishedKey: published, signingKey: derivedSigningKey('test', read, () => nowMs) };
    await mintPassword(here, ci, 900, at(NOW));
    secret = 't';
    const elsewhere = { publishedKey: published, signingKey: signingKeyOf('t') };
    const { password } = await mintPassword(elsewhere, ci, 900, at(NOW));
    isUp = false;
    await assert.rejects(mintPassword(here, ci, 900, at(NOW)), /gone/);
    assert.deepEqual(await verifyMinted(published, password, at(NOW)), ci, 'what it cannot read, it does not publish');
    isUp = true;
    nowMs += 6_000;
    for (const one of [await mintPassword(here, ci, 900, at(NOW)), { password }]) {
      assert.deepEqual(await verifyMinted(published, one.password, at(NOW)), ci);
    }
  });

  test('by one that is no secret: nothing is minted, and what is published stays', async () => {
    const published = publishedHere(() => NOW);
    const { password } = await mintPassword({ ...keys, publishedKey: published }, ci, 900, at(NOW));
    const broken = derivedSigningKey('test', () => Promise.resolve('short'));
    await assert.rejects(mintPassword({ signingKey: broken, publishedKey: published }, ci, 900, at(NOW)), /32 char/);
    assert.deepEqual(await verifyMinted(published, password, at(NOW)), ci);
  });
});
