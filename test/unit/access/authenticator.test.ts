import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { createHash } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { describe, mock, test } from 'node:test';
import type { AccessRule } from '../../../lib/access/access.ts';
import { authenticator } from '../../../lib/access/authenticator.ts';
import { type MintedCaller, mintPassword } from '../../../lib/access/minted.ts';
import type { PasswordHash, Scrypt } from '../../../lib/access/password-hash.ts';
import type { Principal } from '../../../lib/access/principal.ts';
import { derivedSigningKey } from '../../../lib/access/signing-key.ts';
import { type KnownUsers, usersFrom } from '../../../lib/access/users.ts';
import { BusyError, CacheError, UnauthenticatedError } from '../../../lib/errors/cache-error.ts';
import { statusOfError } from '../../../lib/errors/status.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { publishedHere } from '../../support/published-key.ts';

const forever = new AbortController().signal;
const repository = (text: string) => parseReference(text).repository;
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

/** In place of scrypt: as right, and cheap. */
const digestOf = (password: string, { salt }: Pick<PasswordHash, 'salt'>): Uint8Array =>
  createHash('sha256').update(salt).update(password).digest();

function user(
  name: string,
  password: string,
  ...groups: string[]
): [string, KnownUsers extends ReadonlyMap<string, infer U> ? U : never] {
  const salt = Buffer.from(name.padEnd(16, '.'));
  return [name, { name, groups, password: { log2N: 15, r: 8, p: 1, salt, hash: digestOf(password, { salt }) } }];
}

interface Scene {
  readonly rules?: readonly AccessRule[];
  /** Work of scrypt waits for it. */
  readonly hold?: Promise<unknown>;
}

function scene({ rules = [], hold = Promise.resolve() }: Scene = {}) {
  let nowMs = 1_700_000_000_000;
  const state = {
    users: new Map([user('ci', 'right', 'build'), user('ops', 'other', 'admins')]),
    reads: 0,
    scrypts: [] as string[],
    running: 0,
    mostRunning: 0,
    unreadable: undefined as CacheError | undefined,
    pass: (ms: number) => void (nowMs += ms),
  };
  const now = (): number => nowMs;
  const scrypt: Scrypt = async (password, hash) => {
    state.scrypts.push(password);
    state.running += 1;
    state.mostRunning = Math.max(state.mostRunning, state.running);
    await hold;
    state.running -= 1;
    return digestOf(password, hash);
  };
  const publishedKey = publishedHere(now);
  const signingKey = derivedSigningKey('test', () => Promise.resolve('s'.repeat(64)), now);
  const users = usersFrom(() => {
    state.reads += 1;
    return state.unreadable === undefined ? Promise.resolve(new Map(state.users)) : Promise.reject(state.unreadable);
  }, now);
  const keeper = authenticator({ auth: { kind: 'basic' }, rules, users, publishedKey, now, scrypt });
  const mint = async (caller: MintedCaller, seconds = 60): Promise<string> =>
    basic(
      'token',
      (await mintPassword({ signingKey, publishedKey }, caller, seconds, { signal: forever, now })).password,
    );
  return { state, keeper, mint, admit: (header?: string): Promise<Principal> => keeper.admit(header, forever) };
}

const settled = async (work: readonly Promise<unknown>[]): Promise<readonly unknown[]> =>
  (await Promise.allSettled(work)).map((one) => (one.status === 'fulfilled' ? 'admitted' : (one.reason as unknown)));

describe('where nobody has to say who they are', () => {
  test('everybody is anyone, and may use everything', async () => {
    const { keeper } = { keeper: authenticator({ ...unused, auth: { kind: 'none' } }) };
    assert.equal(keeper.challenge, undefined);
    for (const header of [undefined, 'nonsense', basic('a', 'b')]) {
      const puller = await keeper.admit(header, forever);
      assert.deepEqual([puller.name, puller.mayUse(repository('alpine'))], ['anyone', true]);
    }
  });
});

const unused = {
  rules: [{ callers: ['x'], repositories: ['y/z'] }],
  users: { read: () => Promise.reject(new Error('unused')) },
  publishedKey: { find: () => Promise.reject(new Error('unused')) },
};

describe('a user with a password', () => {
  test('is admitted, and remembered: scrypt is not on the way of the next request', async () => {
    const { admit, state, keeper } = scene();
    assert.equal(keeper.challenge, 'Basic realm="entrepot", charset="UTF-8"');
    assert.equal((await admit(basic('ci', 'right'))).name, 'user:ci');
    for (let times = 0; times < 50; times += 1) await admit(basic('ci', 'right'));
    assert.equal(state.scrypts.length, 1);
    state.pass(60_001);
    await admit(basic('ci', 'right'));
    assert.equal(state.scrypts.length, 2, 'a minute later it is asked again');
  });

  test('is refused with another password, and so is a name that nobody has: by one scrypt each, with the same words', async () => {
    const { admit, state } = scene();
    const messages = new Set<string>();
    for (const header of [basic('ci', 'wrong'), basic('nobody', 'right'), basic('ops', 'right')]) {
      await assert.rejects(admit(header), (error) => {
        assert.ok(error instanceof UnauthenticatedError);
        messages.add(error.message);
        return statusOfError(error) === 401;
      });
    }
    assert.equal(state.scrypts.length, 3);
    assert.equal(messages.size, 1);
    assert.ok(![...messages].join('').includes('right'));
  });

  test('what was refused is refused again for ten seconds without scrypt, and then tried anew', async () => {
    const { admit, state } = scene();
    for (let times = 0; times < 20; times += 1) await assert.rejects(admit(basic('ci', 'wrong')), UnauthenticatedError);
    assert.equal(state.scrypts.length, 1);
    state.pass(10_001);
    await assert.rejects(admit(basic('ci', 'wrong')), UnauthenticatedError);
    assert.equal(state.scrypts.length, 2);
  });

  test('has a password of any characters, colons too, and the name only before the first', async () => {
    const { admit, state } = scene();
    state.users.set(...user('jane', 'pä:ss:wörd 🙂'));
    assert.equal((await admit(basic('jane', 'pä:ss:wörd 🙂'))).name, 'user:jane');
    assert.equal((await admit(basic('jane', 'pä:ss:wörd 🙂').replace('Basic ', 'bAsIc  '))).name, 'user:jane');
  });

  test('who was removed, or has another password, is out after the minute and the two of the users', async () => {
    const { admit, state } = scene();
    await admit(basic('ci', 'right'));
    await admit(basic('ops', 'other'));
    state.users.delete('ci');
    state.users.set(...user('ops', 'new', 'admins'));
    state.pass(119_000);
    await admit(basic('ci', 'right'));
    state.pass(2_000);
    await admit(basic('ci', 'right'));
    state.pass(59_000);
    await assert.rejects(admit(basic('ci', 'right')), UnauthenticatedError);
    await assert.rejects(admit(basic('ops', 'other')), UnauthenticatedError);
    assert.equal((await admit(basic('ops', 'new'))).name, 'user:ops');
    assert.equal(state.reads, 2);
  });

  test('secrets are compared by timingSafeEqual', async () => {
    const compare = mock.method(crypto, 'timingSafeEqual');
    syncBuiltinESMExports();
    try {
      const { admit } = scene();
      await admit(basic('ci', 'right'));
      await assert.rejects(admit(basic('ci', 'wrong')));
      await assert.rejects(admit(basic('nobody', 'wrong')));
      assert.equal(compare.mock.callCount(), 3);
    } finally {
      compare.mock.restore();
      syncBuiltinESMExports();
    }
  });
});

describe('a flood', () => {
  test('of one header is one scrypt', async () => {
    const gate = Promise.withResolvers<undefined>();
    const { admit, state } = scene({ hold: gate.promise });
    const all = Array.from({ length: 500 }, () => admit(basic('ci', 'right')));
    await new Promise(setImmediate);
    gate.resolve(undefined);
    assert.deepEqual(new Set(await settled(all)), new Set(['admitted']));
    assert.equal(state.scrypts.length, 1);
    assert.equal(state.reads, 1);
  });

  test('of many passwords runs two at a time, lets 32 wait, and sends the rest away with 429', async () => {
    const gate = Promise.withResolvers<undefined>();
    const { admit, state } = scene({ hold: gate.promise });
    const all = Array.from({ length: 1_000 }, (_, index) => admit(basic('ci', `guess ${index}`)));
    const outcomes = settled(all);
    await new Promise(setImmediate);
    assert.equal(state.scrypts.length, 2);
    gate.resolve(undefined);
    const refused = await outcomes;
    const busy = refused.filter((one) => one instanceof BusyError);
    assert.equal(busy.length, 1_000 - 34);
    assert.ok(busy.every((one) => one.retryable && statusOfError(one) === 429));
    assert.equal(refused.filter((one) => one instanceof UnauthenticatedError).length, 34);
    assert.deepEqual([state.scrypts.length, state.mostRunning], [34, 2]);
    assert.equal((await admit(basic('ci', 'right'))).name, 'user:ci', 'then it is over');
  });

  test('of wrong passwords drives nobody out who is remembered', async () => {
    const { admit, state } = scene();
    await admit(basic('ci', 'right'));
    for (let index = 0; index < 3_000; index += 1) await assert.rejects(admit(basic('ci', `guess ${index}`)));
    const before = state.scrypts.length;
    await admit(basic('ci', 'right'));
    assert.equal(state.scrypts.length, before);
  });

  test('one that leaves does not end the verification for the others', async () => {
    const gate = Promise.withResolvers<undefined>();
    const { keeper, state, admit } = scene({ hold: gate.promise });
    const leaver = new AbortController();
    const left = keeper.admit(basic('ci', 'right'), leaver.signal);
    const stays = admit(basic('ci', 'right'));
    await new Promise(setImmediate);
    leaver.abort(new Error('gone'));
    await assert.rejects(left, /gone/);
    gate.resolve(undefined);
    assert.equal((await stays).name, 'user:ci');
    assert.equal(state.scrypts.length, 1);
  });
});

describe('a header that proves nothing', () => {
  const headers: [string, string | undefined][] = [
    ['none', undefined],
    ['an empty one', ''],
    ['another scheme', 'Bearer eyJhbGciOi'],
    ['no base64', 'Basic ci:right'],
    ['two tokens', `${basic('ci', 'right')} x`],
    ['no colon', `Basic ${Buffer.from('ci').toString('base64')}`],
    ['no user', basic('', 'right')],
    ['no password', basic('ci', '')],
    ['a control character', basic('ci', 'ri\nght')],
    ['no UTF-8', `Basic ${Buffer.from([0x63, 0x3a, 0xff, 0xfe]).toString('base64')}`],
    ['a user of 257 characters', basic('u'.repeat(257), 'right')],
    ['a password of 4,097 characters', basic('ci', 'p'.repeat(4_097))],
    ['more than 8 KiB', `Basic ${'QUFB'.repeat(4_000)}`],
  ];
  for (const [name, header] of headers) {
    test(name, async () => {
      const { admit, state } = scene();
      await assert.rejects(admit(header), (error) => {
        assert.ok(error instanceof UnauthenticatedError);
        return !error.message.includes('right') && !error.message.includes('eyJ');
      });
      assert.deepEqual([state.scrypts.length, state.reads], [0, 0]);
    });
  }
});

describe('users that cannot be read', () => {
  const unreachable = new CacheError('not now', { op: 'read secret', origin: 'store', retryable: true });
  test('are a retryable fault, told for five seconds without another try', async () => {
    const { admit, state } = scene();
    state.unreadable = unreachable;
    for (let times = 0; times < 5; times += 1) {
      await assert.rejects(admit(basic('ci', 'right')), (error) => error === unreachable);
    }
    assert.equal(state.reads, 1);
    state.unreadable = undefined;
    state.pass(5_001);
    assert.equal((await admit(basic('ci', 'right'))).name, 'user:ci');
  });

  test('are those that were known, for an hour', async () => {
    const { admit, state } = scene();
    await admit(basic('ci', 'right'));
    state.unreadable = unreachable;
    state.pass(59 * 60_000);
    assert.equal((await admit(basic('ci', 'right'))).name, 'user:ci');
    state.pass(2 * 60_000);
    await assert.rejects(admit(basic('ci', 'right')), (error) => error === unreachable);
  });
});

describe('a minted password', () => {
  const ci: MintedCaller = { kind: 'iam', arn: 'arn:aws:iam::123456789012:role/ci' };

  test('is its caller, by no scrypt and no user, until it expires', async () => {
    const { admit, mint, state } = scene();
    const header = await mint(ci, 60);
    assert.equal((await admit(header)).name, ci.arn);
    state.pass(59_000);
    await admit(header);
    state.pass(1_000);
    await assert.rejects(admit(header), UnauthenticatedError);
    assert.deepEqual([state.scrypts.length, state.reads], [0, 0]);
  });

  test('is taken of the user "token" alone', async () => {
    const { admit, mint } = scene();
    const [, password = ''] = Buffer.from((await mint(ci)).slice(6), 'base64')
      .toString()
      .split('token:');
    await assert.rejects(admit(basic('Token', password)), UnauthenticatedError);
    await assert.rejects(admit(basic('ci', password)), UnauthenticatedError);
    await admit(basic('token', password));
  });

  test('of a JWT is the values of its claim, but for the names of users and groups', async () => {
    const rules = [
      { callers: ['builders'], repositories: ['ghcr.io/org/*'] },
      { callers: ['user:ops', 'group:admins'], repositories: ['ghcr.io/secret/*'] },
    ];
    const { admit, mint } = scene({ rules });
    const values = ['builders', 'user:ops', 'group:admins'];
    const puller = await admit(await mint({ kind: 'jwt', subject: 'jane', values }));
    assert.equal(puller.name, 'jane');
    assert.ok(puller.mayUse(repository('ghcr.io/org/app')));
    assert.ok(!puller.mayUse(repository('ghcr.io/secret/app')));
  });
});

describe('rules', () => {
  const rules: readonly AccessRule[] = [
    { callers: ['user:ci'], repositories: ['docker.io/library/*'] },
    { callers: ['group:adm*'], repositories: ['**'] },
    { callers: ['arn:aws:iam::123456789012:role/builder-*'], repositories: ['ghcr.io/org/**'] },
  ];

  test('say what users, groups and roles may use', async () => {
    const { admit, mint } = scene({ rules });
    const [ci, ops] = [await admit(basic('ci', 'right')), await admit(basic('ops', 'other'))];
    assert.deepEqual([ci.mayUse(repository('alpine')), ci.mayUse(repository('ghcr.io/org/app'))], [true, false]);
    assert.ok(ops.mayUse(repository('quay.io/any/thing')));
    const builder = await admit(await mint({ kind: 'iam', arn: 'arn:aws:iam::123456789012:role/builder-1' }));
    assert.deepEqual(
      [builder.mayUse(repository('ghcr.io/org/a/b')), builder.mayUse(repository('alpine'))],
      [true, false],
    );
    const other = await admit(await mint({ kind: 'iam', arn: 'arn:aws:iam::123456789012:role/other' }));
    assert.ok(!other.mayUse(repository('alpine')));
  });

  test('without any, whoever is known may use everything', async () => {
    const { admit, mint } = scene();
    for (const header of [basic('ci', 'right'), await mint({ kind: 'iam', arn: 'arn:aws:iam::123456789012:root' })]) {
      assert.ok((await admit(header)).mayUse(repository('ghcr.io/org/app')));
    }
  });
});
