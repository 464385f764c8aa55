import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { derivedKeys } from '../../../lib/access/derived-keys.ts';
import { mintPassword, verifyMinted, type MintedCaller } from '../../../lib/access/minted.ts';
import { InvalidRequestError, UnauthenticatedError } from '../../../lib/errors/cache-error.ts';

const NOW = 1_700_000_000_000;
const signal = new AbortController().signal;
const at = (ms: number) => ({ signal, now: () => ms });
const keysOf = (secret: string) => derivedKeys('test', () => Promise.resolve(secret.repeat(40)));
const keys = keysOf('s');
const ci: MintedCaller = { kind: 'iam', arn: 'arn:aws:iam::123456789012:role/ci' };

const minted = async (caller: MintedCaller = ci, seconds = 900) =>
  (await mintPassword(keys, caller, seconds, at(NOW))).password;

describe('a minted password', () => {
  test('says who it was minted for until it expires, and not for a millisecond more', async () => {
    const { password, expiresAtMs } = await mintPassword(keys, ci, 900, at(NOW));
    assert.equal(expiresAtMs, NOW + 900_000);
    assert.match(password, /^v1\.[\w-]+\.[\w-]{43}$/);
    assert.deepEqual(await verifyMinted(keys, password, at(expiresAtMs - 1)), ci);
    await assert.rejects(verifyMinted(keys, password, at(expiresAtMs)), UnauthenticatedError);
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
    assert.deepEqual(await verifyMinted(keys, await minted(jane), at(NOW)), jane);
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

  test('of another secret, or of another purpose of the same, is refused', async () => {
    const password = await minted();
    await assert.rejects(verifyMinted(keysOf('t'), password, at(NOW)), UnauthenticatedError);
    const elsewhere = { key: (_purpose: string, aborted: AbortSignal) => keys.key('waiting room', aborted) };
    await assert.rejects(verifyMinted(elsewhere, password, at(NOW)), UnauthenticatedError);
  });

  test('with any character changed, added or left out is refused, and is not told', async () => {
    const password = await minted();
    const change = fc.tuple(fc.nat(password.length), fc.constantFrom('', 'A', 'b', '-', '.', '=', '\u00e9'), fc.nat(1));
    await fc.assert(
      fc.asyncProperty(change, async ([index, text, left]) => {
        const other = password.slice(0, index) + text + password.slice(index + left);
        fc.pre(other !== password);
        await assert.rejects(
          verifyMinted(keys, other, at(NOW)),
          (error) => error instanceof UnauthenticatedError && !error.message.includes(password.slice(0, 20)),
        );
      }),
    );
  });

  test('of another version, or nonsense, is refused', async () => {
    const password = await minted();
    for (const other of ['', 'v1', 'v1..', password.replace('v1', 'v2'), `${password}.x`, 'x'.repeat(100_000)]) {
      await assert.rejects(verifyMinted(keys, other, at(NOW)), UnauthenticatedError);
    }
  });
});
