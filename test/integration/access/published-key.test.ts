import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { derivedSigningKey, type PublishedKey } from '../../../lib/access/signing-key.ts';
import { dynamoPublishedKey } from '../../../lib/access/dynamo-published-key.ts';
import { mintPassword, verifyMinted, type MintedCaller } from '../../../lib/access/minted.ts';
import { ENDPOINT_PARTITIONS, PASSWORD_KEY } from '../../../lib/table/keys.ts';
import { CatalogError, UnauthenticatedError } from '../../../lib/errors/cache-error.ts';
import { startEmbeddedDynamo } from '../../support/embedded-dynamo.ts';
import {
  dynamoError,
  forever,
  onDynamo,
  operationsOf,
  tableOn,
  type Reach,
  type TableUnderTest,
} from '../../support/table-under-test.ts';

const MINUTE = 60_000;
const ci: MintedCaller = { kind: 'iam', arn: 'arn:aws:iam::123456789012:role/ci' };
const newKey = (): KeyObject => generateKeyPairSync('ed25519').publicKey;

let table: TableUnderTest;
let reach: Reach;
let nowMs = Date.now();
const now = (): number => nowMs;
/** As another process has it: with a memory of its own. */
const process = (): PublishedKey => dynamoPublishedKey({ client: reach.client, table: table.table, now });
const readsOf = (): number => operationsOf(reach.proxy).filter((operation) => operation === 'GetItem').length;
const isFound = (found: KeyObject | undefined, key: KeyObject): boolean => found?.equals(key) === true;

before(async () => {
  table = await tableOn(await startEmbeddedDynamo());
});
beforeEach(async () => {
  reach = await table.reach();
});
afterEach(() => reach[Symbol.asyncDispose]());
after(() => table[Symbol.asyncDispose]());

describe('the public key of passwords', () => {
  test('is there once it is published, until its time is over', async () => {
    const [key, here] = [newKey(), process()];
    assert.equal(await process().find(forever), undefined);
    assert.equal(await here.renew(key, nowMs + 30_000, forever), true);
    assert.ok(isFound(await here.find(forever), key));
    assert.deepEqual(
      Object.keys((await table.row(PASSWORD_KEY)) ?? {})
        .filter((name) => name.length > 2)
        .sort(),
      ['expiresSeconds', 'publicKey'],
    );
    nowMs += 31_000;
    assert.equal(await here.find(forever), undefined, 'also as it was read before');
    assert.equal(await process().find(forever), undefined);
    await here.renew(key, nowMs + MINUTE, forever);
    assert.ok(isFound(await process().find(forever), key));
  });

  test('gives way to no other key, unless it is replaced', async () => {
    const [old, other] = [newKey(), newKey()];
    await process().replace(old, nowMs + MINUTE, forever);
    assert.equal(await process().renew(other, nowMs + MINUTE, forever), false);
    assert.ok(isFound(await process().find(forever), old));
    await process().replace(other, nowMs + MINUTE, forever);
    assert.equal(await process().renew(old, nowMs + MINUTE, forever), false);
    assert.ok(isFound(await process().find(forever), other));
  });

  test('of many processes that publish at once is one', async () => {
    const keys = Array.from({ length: 8 }, newKey);
    await process().replace(keys[0]!, nowMs + MINUTE, forever);
    const outcomes = await Promise.all(keys.map((key) => process().renew(key, nowMs + MINUTE, forever)));
    assert.deepEqual(
      outcomes,
      keys.map((_key, index) => index === 0),
    );
  });

  test('is read once a minute, and before that only for who needs it newer', async () => {
    const [key, here] = [newKey(), process()];
    await here.replace(key, nowMs + 10 * MINUTE, forever);
    await Promise.all(Array.from({ length: 20 }, () => here.find(forever)));
    assert.equal(readsOf(), 1);
    nowMs += 30_000;
    await here.find(forever);
    assert.equal(readsOf(), 1);
    await here.find(forever, 1_000);
    await here.find(forever, 1_000);
    assert.equal(readsOf(), 2);
    nowMs += 61_000;
    await here.find(forever);
    assert.equal(readsOf(), 3);
  });

  test('is used on for five minutes where the table cannot be read; then nobody can be told from anybody', async () => {
    const [key, here] = [newKey(), process()];
    await here.replace(key, nowMs + 60 * MINUTE, forever);
    await here.find(forever);
    reach.proxy.rules.push(onDynamo('GetItem', dynamoError('InternalServerError', {}, 500), 1_000));
    nowMs += 4 * MINUTE;
    assert.ok(isFound(await here.find(forever), key));
    await assert.rejects(here.find(forever, 1_000), CatalogError);
    nowMs += 2 * MINUTE;
    await assert.rejects(here.find(forever), (error) => error instanceof CatalogError && error.retryable);
  });

  test('is in no partition that the function at the door may write', () => {
    const mayWrite = ENDPOINT_PARTITIONS.some((one) =>
      one.endsWith('*') ? PASSWORD_KEY.pk.startsWith(one.slice(0, -1)) : one === PASSWORD_KEY.pk,
    );
    assert.equal(mayWrite, false);
  });
});

describe('passwords of two processes', () => {
  const mint = async (secret: string): Promise<string> => {
    const signingKey = derivedSigningKey('test', () => Promise.resolve(secret.repeat(40)), now);
    return (await mintPassword({ signingKey, publishedKey: process() }, ci, 900, { signal: forever, now })).password;
  };
  const verify = (door: PublishedKey, password: string) => verifyMinted(door, password, { signal: forever, now });

  test('a door that knows the key before takes a password of the next one at once, and none of the one before', async () => {
    const door = process();
    const old = await mint('a');
    assert.deepEqual(await verify(door, old), ci);
    nowMs += 2_000;
    const fresh = await mint('b');
    assert.deepEqual(await verify(door, fresh), ci);
    await assert.rejects(verify(door, old), UnauthenticatedError);
  });

  test('a flood of wrong passwords reads the table once a second', async () => {
    const door = process();
    const [v, payload] = (await mint('c')).split('.');
    const wrong = `${v}.${payload}.${'A'.repeat(86)}`;
    for (let second = 0; second < 3; second += 1) {
      for (let times = 0; times < 50; times += 1) await assert.rejects(verify(door, wrong), UnauthenticatedError);
      nowMs += 1_001;
    }
    assert.equal(readsOf(), 3);
  });

  test('the key that is published is the public half of what the secret gives', async () => {
    await mint('d');
    const signingKey = derivedSigningKey('test', () => Promise.resolve('d'.repeat(40)));
    assert.ok(isFound(await process().find(forever), createPublicKey(await signingKey.privateKey(forever))));
  });
});
