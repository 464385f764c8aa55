import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { derivedSigningKey } from '../../../lib/access/signing-key.ts';
import { fileUsers } from '../../../lib/access/secrets-users.ts';
import { localSigningKey } from '../../../lib/access/secrets-signing-key.ts';
import {
  formatPasswordHash,
  hashPassword,
  isPassword,
  parsePasswordHash,
  scrypt,
} from '../../../lib/access/password-hash.ts';
import { parseUsers } from '../../../lib/access/users.ts';
import { CacheError, ConfigError } from '../../../lib/errors/cache-error.ts';

const signal = new AbortController().signal;
const SALT = Buffer.alloc(16, 7).toString('base64url');
const HASH = Buffer.alloc(32, 9).toString('base64url');
const hash = (costs: string): string => `scrypt$${costs}$${SALT}$${HASH}`;
const GOOD = hash('15$8$3');

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-users-'));
});
after(() => rm(folder, { recursive: true, force: true }));

describe('the hash of a password', () => {
  test('is of this password alone, and has a salt of its own', async () => {
    const [one, two] = [await hashPassword('correct horse'), await hashPassword('correct horse')];
    assert.notDeepEqual(one.salt, two.salt);
    const parsed = parsePasswordHash(formatPasswordHash(one));
    assert.deepEqual(Buffer.from(parsed.hash), Buffer.from(one.hash));
    assert.ok(await isPassword('correct horse', parsed));
    // At a cost that no file may have.
    const cheap = { ...parsed, log2N: 4 };
    const known = { ...cheap, hash: await scrypt('correct horse', cheap) };
    assert.ok(await isPassword('correct horse', known));
    assert.ok(!(await isPassword('correct horsf', known)));
  });

  test('has costs that are neither cheap nor absurd', () => {
    for (const costs of ['15$8$3', '14$8$1', '16$8$2', '15$8$1', '15$8$8']) parsePasswordHash(hash(costs));
    for (const costs of [
      '1$8$1',
      '13$8$1',
      '15$8$9',
      '17$8$1',
      '20$8$1',
      '99$8$1',
      '15$0$1',
      '15$8$0',
      '15$99$99',
      '12$64$64',
    ]) {
      assert.throws(() => parsePasswordHash(hash(costs)), /costs|is not a hash/, costs);
    }
  });

  test('is of the form that hash-password prints, or refused without being quoted', () => {
    const broken = ['', 'hunter2', 'bcrypt$x', GOOD.slice(0, -20), `${GOOD}$`, GOOD.replace(SALT, 'AAAA'), ` ${GOOD}`];
    for (const text of broken) {
      assert.throws(
        () => parsePasswordHash(text),
        (error: Error) => text === '' || !error.message.includes(text),
      );
    }
  });
});

describe('a document of users', () => {
  test('is a list of names, hashes and groups', () => {
    const users = parseUsers(
      [
        { name: 'ci', password: GOOD },
        { name: 'jane@example.test', password: GOOD, groups: ['a', 'a', 'b'] },
      ],
      'x',
    );
    assert.deepEqual([...users.keys()], ['ci', 'jane@example.test']);
    assert.deepEqual([users.get('ci')?.groups, users.get('jane@example.test')?.groups], [[], ['a', 'b']]);
  });

  test('tells all its problems at once, and quotes nothing secret', () => {
    const document = [
      { name: 'token', password: GOOD },
      { name: 'a:b', password: 'hunter2' },
      { name: 'ci', password: GOOD, hunter2: true },
      'hunter2',
      { name: 'ok', password: GOOD, groups: ['x y'] },
      { name: 'ok', password: hash('30$8$1') },
      { name: 'twice', password: GOOD },
      { name: 'twice', password: GOOD },
    ];
    assert.throws(
      () => parseUsers(document, 'users.yaml'),
      (error) => {
        assert.ok(error instanceof ConfigError);
        const lines = error.message.split('\n');
        assert.match(lines[0] ?? '', /^the users in users\.yaml have 8 problems$/);
        assert.ok(!error.message.includes('hunter2') && !error.message.includes(HASH), error.message);
        return lines.length === 9;
      },
    );
    for (const other of [undefined, null, {}, 'x', Array.from({ length: 1_001 }, () => ({}))]) {
      assert.throws(() => parseUsers(other, 'x'), ConfigError);
    }
  });

  test('may be a file of YAML or JSON', async () => {
    const [yaml, json] = [join(folder, 'users.yaml'), join(folder, 'users.json')];
    await writeFile(yaml, `# ours\n- name: "123"\n  password: ${GOOD}\n  groups: [build]\n`);
    await writeFile(json, JSON.stringify([{ name: 'ci', password: GOOD }]));
    assert.deepEqual([...(await fileUsers(yaml).read(signal)).keys()], ['123']);
    assert.deepEqual([...(await fileUsers(json).read(signal)).keys()], ['ci']);
  });

  test('a file that is none, or holds something else, is told without its text', async () => {
    const file = join(folder, 'broken');
    const texts = [
      '- {name: hunter2, password: hunter2',
      'hunter2: [',
      '- &hunter2 {}\n- *hunter2',
      '- *hunter2',
      'hunter2',
    ];
    for (const text of texts) {
      await writeFile(file, text);
      const message = await fileUsers(file)
        .read(signal)
        .then(String, (error: unknown) => {
          assert.ok(error instanceof ConfigError, String(error));
          return error.message;
        });
      assert.ok(message.includes(file) && !message.includes('hunter2'), message);
    }
    await assert.rejects(fileUsers(join(folder, 'absent')).read(signal), /ENOENT/);
    await assert.rejects(fileUsers(folder).read(signal), ConfigError);
  });
});

describe('the signing key', () => {
  const textOf = (key: KeyObject): string => key.export({ format: 'pem', type: 'pkcs8' }).toString();

  test('is Ed25519, the same for the same secret, and another for another', async () => {
    const of = (secret: string): Promise<KeyObject> =>
      derivedSigningKey('x', () => Promise.resolve(secret)).privateKey(signal);
    const [one, same, other] = [await of('s'.repeat(32)), await of(` ${'s'.repeat(32)}\n`), await of('t'.repeat(32))];
    assert.deepEqual([one.asymmetricKeyType, one.type], ['ed25519', 'private']);
    assert.equal(textOf(one), textOf(same));
    assert.notEqual(textOf(one), textOf(other));
  });

  test('of a secret that could be guessed is refused', async () => {
    await assert.rejects(
      derivedSigningKey('secret x', () => Promise.resolve('short')).privateKey(signal),
      (error) =>
        error instanceof ConfigError && error.message.startsWith('secret x') && !error.message.includes('short'),
    );
  });

  test('is read once for all who ask, again after five minutes or for who takes no older one, and used on for a while where that fails', async () => {
    let [nowMs, reads, isUp] = [0, 0, true];
    const read = (): Promise<string> => {
      reads += 1;
      const gone = new CacheError('gone', { op: 'read secret', origin: 'store', retryable: true });
      return isUp ? Promise.resolve(`${reads}`.repeat(40)) : Promise.reject(gone);
    };
    const signingKey = derivedSigningKey('x', read, () => nowMs);
    const first = await Promise.all(Array.from({ length: 20 }, () => signingKey.privateKey(signal)));
    assert.deepEqual([reads, new Set(first).size], [1, 1]);
    nowMs += 5 * 60_000 + 1;
    assert.notEqual(textOf(await signingKey.privateKey(signal)), textOf(first[0]!), 'the secret was replaced');
    assert.equal(reads, 2);
    await signingKey.privateKey(signal, 0);
    await signingKey.privateKey(signal, 1_000);
    assert.equal(reads, 3);
    isUp = false;
    await assert.rejects(signingKey.privateKey(signal, 0), /gone/, 'an older one is none');
    nowMs += 11 * 60 * 60_000;
    await signingKey.privateKey(signal);
    nowMs += 2 * 60 * 60_000;
    await assert.rejects(signingKey.privateKey(signal), /gone/);
  });

  test('of a file that is made by whoever comes first, for its owner alone', async () => {
    const file = join(folder, 'home', 'signing-key');
    const all = await Promise.all(Array.from({ length: 20 }, () => localSigningKey(file).privateKey(signal)));
    assert.equal(new Set(all.map(textOf)).size, 1);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(join(folder, 'home')), ['signing-key']);
    assert.equal(textOf(await localSigningKey(file).privateKey(signal)), textOf(all[0]!));
    await chmod(file, 0o644);
    await assert.rejects(localSigningKey(file).privateKey(signal), /chmod 600/);
  });
});
