import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { compileConfig, readCompiledConfig } from '../../../lib/config/compiled.ts';
import { loadConfig, type Config } from '../../../lib/config/config.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-sections-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const ECR = '123456789012.dkr.ecr.eu-central-1.amazonaws.com';
const registries = {
  'docker.io': {},
  'ghcr.io': { allow: ['org/**'] },
  'registry.example.test:5000': {},
  [ECR]: {},
};

let files = 0;
function load(sections: object): Config {
  const path = join(folder, `${files++}.yaml`);
  writeFileSync(path, stringify({ registries, ...sections }));
  return loadConfig({ ENTREPOT_CONFIG: path }, folder);
}

function problemsOf(sections: object): string[] {
  try {
    load(sections);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split('\n  ').slice(1);
  }
  return [];
}

function assertProblem(sections: object, expected: RegExp): void {
  const found = problemsOf(sections);
  assert.equal(found.length, 1, `${JSON.stringify(sections)}\n${found.join('\n')}`);
  assert.match(found[0] ?? '', expected);
}

const isFrozen = (value: unknown): boolean =>
  typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(isFrozen));

test('without the sections nobody is named, nothing is warmed up, no event counts', () => {
  const { access, warmups, events } = load({});
  assert.deepEqual(
    { access, warmups, events },
    { access: { rules: [] }, warmups: [], events: { ecrPushes: [], senders: [] } },
  );
  assert.deepEqual(load({ access: null, warmups: null, events: null }).warmups, []);
});

test('what the sections say is the same after it was compiled', () => {
  const config = load({
    access: { jwt, rules: [{ callers: ['team-*'], repositories: ['ghcr.io/org/**'] }] },
    warmups: { nightly: { schedule: 'rate(6 hours)', images: [{ reference: 'alpine' }] } },
    events: { ecrPushes: ['team/**'], senders: ['210987654321'] },
  });
  const { access, warmups, events } = readCompiledConfig(compileConfig(config));
  assert.deepEqual(
    { access, warmups, events },
    { access: config.access, warmups: config.warmups, events: config.events },
  );
});

test('the example is right for AWS', () => {
  const environment = { ENTREPOT_CONFIG: fileURLToPath(new URL('../../../entrepot.example.yaml', import.meta.url)) };
  const config = loadConfig(environment, folder, { target: 'aws' });
  assert.equal(config.warmups[0]?.entries.length, 2);
  assert.equal(config.access.rules.length, 2);
  assert.deepEqual(config.events.ecrPushes, ['team/**']);
});

const jwt = {
  issuer: 'https://login.example.test/pool',
  audience: ['entrepot'],
  claim: { name: 'groups', anyOf: ['platform-*'] },
};
const role = 'arn:aws:iam::123456789012:role/ci-*';

describe('access', () => {
  const rule = (callers: unknown, repositories: unknown = ['**']): object => ({
    access: { rules: [{ callers, repositories }] },
  });

  test('says who may use what', () => {
    const rules = [{ callers: [role], repositories: ['ghcr.io/org/**', 'registry.example.test:5000/team/*'] }];
    const { access } = load({ access: { rules } });
    assert.deepEqual(access, { rules });
    assert.ok(isFrozen(access));
    assert.deepEqual(load({ access: { jwt } }).access, { jwt, rules: [] });
    const callers = ['user:ci', 'user:*', 'group:build-{a,b}', role];
    assert.deepEqual(load(rule(callers)).access.rules[0]?.callers, callers);
    assert.deepEqual(
      load(rule(['*', '{arn:a,arn:b}'], ['{ghcr.io,docker.io}/**', '*/team/**'])).access.rules.length,
      1,
    );
  });

  test('a JWT needs issuer, audience and claim', () => {
    const found = problemsOf({ access: { jwt: {} } });
    assert.deepEqual(
      found.map((problem) => problem.replace(/, found.*/, '')),
      [
        'access.jwt.issuer: expected the issuer of the tokens, an https URL',
        'access.jwt.audience: expected a list, for example [entrepot]',
        'access.jwt.claim: expected a map',
      ],
    );
    const withClaim = (claim: object): object => ({ access: { jwt: { ...jwt, claim } } });
    assertProblem(withClaim({ name: 'groups' }), /access\.jwt\.claim\.anyOf: expected a list/);
    assertProblem(withClaim({ name: 'groups', anyOf: [] }), /anyOf: is empty; name the values of the claim/);
    assertProblem(
      withClaim({ ...jwt.claim, all: true }),
      /claim\.all: unknown key; the known ones are name, list, anyOf/,
    );
    assertProblem({ access: { jwt: { ...jwt, audience: [] } } }, /audience: is empty/);
    assertProblem({ access: { jwt: null } }, /access\.jwt: expected a map, found nothing/);
    for (const issuer of ['http://login.example.test', 'login', 'https://a.test/?x', 'https://a@b.test']) {
      assertProblem({ access: { jwt: { ...jwt, issuer } } }, /issuer: is not an https URL/);
    }
  });

  test('rules that would let everybody in, or nobody, are problems', () => {
    assertProblem({ access: { rules: [] } }, /^access\.rules: is empty; leave the key out if/);
    assertProblem({ access: { rules: null } }, /^access\.rules: expected a list/);
    assertProblem(rule([]), /rules\[0\]\.callers: is empty/);
    assertProblem(rule([role], []), /rules\[0\]\.repositories: is empty/);
    assertProblem(rule(['ci']), /callers\[0\]: matches no ARN/);
    assertProblem(rule(['user:']), /callers\[0\]: names no user or group/);
    assertProblem(rule(['group:a/b']), /callers\[0\]: names no user or group/);
    assertProblem(rule(['arn:aws:sts::123456789012:assumed-role/ci/x']), /callers\[0\]: names the session of a role/);
    assertProblem(rule(['arn:aws:iam::123456789012:role/team/ci']), /callers\[0\]: names a role with its path/);
    assertProblem(rule([role], ['team']), /repositories\[0\]: "team" can match no repository/);
    assertProblem(rule([role], ['ghcr.io/org/app@sha256:x']), /the "@" at character 16 is not allowed/);
    assertProblem(rule([role], ['https://ghcr.io/**']), /can match no repository/);
    assertProblem(
      rule([role], ['gchr.io/org/**']),
      /begins with "gchr\.io", which is not the name of a configured registry/,
    );
    assertProblem(rule([role], ['index.docker.io/**']), /not the name of a configured registry \(docker\.io, /);
    assert.equal(load(rule(['arn:*'], ['ghcr.io/org/*-*-*-*-svc'])).access.rules.length, 1);
    assertProblem({ access: { rule: [] } }, /^access\.rule: unknown key; the known ones are jwt, rules/);
  });

  test('with a JWT, callers are values of its claim', () => {
    const { access } = load({ access: { jwt, rules: [{ callers: ['team-a'], repositories: ['**'] }] } });
    assert.deepEqual(access.rules[0]?.callers, ['team-a']);
  });
});

describe('warmups', () => {
  const warmup = (more: object): object => ({
    warmups: { nightly: { schedule: 'cron(0 3 * * ? *)', images: [{ reference: 'alpine' }], ...more } },
  });
  const image = (entry: unknown): object => warmup({ images: [entry] });

  test('every key is taken over, references normalised', () => {
    const { warmups } = load(
      warmup({
        timeZone: 'europe/berlin',
        parallel: 2,
        images: [
          { reference: 'alpine:3.20', platforms: ['linux/aarch64'], attestations: false },
          { repository: 'ghcr.io/org/app', tags: { glob: '1.*', semver: '>=1.25 <2', newest: 3 } },
        ],
      }),
    );
    assert.deepEqual(warmups, [
      {
        name: 'nightly',
        schedule: 'cron(0 3 * * ? *)',
        timeZone: 'Europe/Berlin',
        parallel: 2,
        entries: [
          {
            what: {
              kind: 'reference',
              reference: { repository: { registry: 'docker.io', path: 'library/alpine' }, tag: '3.20' },
            },
            platforms: [{ os: 'linux', architecture: 'arm64' }],
            attestations: false,
          },
          {
            what: {
              kind: 'repository',
              repository: { registry: 'ghcr.io', path: 'org/app' },
              tags: { glob: '1.*', semver: '>=1.25 <2', newest: 3 },
            },
            platforms: [],
            attestations: true,
          },
        ],
      },
    ]);
    assert.ok(isFrozen(warmups));
    const [usual] = load(warmup({})).warmups;
    assert.deepEqual([usual?.timeZone, usual?.parallel], ['UTC', 4]);
  });

  test('an image is a reference, or a repository with a rule for its tags', () => {
    assertProblem(image({}), /^warmups\.nightly\.images\[0\]: write either "reference", or "repository" with "tags"/);
    assertProblem(image({ reference: 'alpine', repository: 'alpine' }), /write either/);
    assertProblem(image({ reference: 'alpine', tags: { newest: 1 } }), /tags go with "repository"/);
    assertProblem(image({ repository: 'alpine' }), /has "repository" without "tags"/);
    assertProblem(image({ repository: 'alpine', tags: {} }), /images\[0\]\.tags: is empty; write at least one of glob/);
    assertProblem(image({ repository: 'alpine:3', tags: { newest: 1 } }), /names a tag or digest/);
    assertProblem(image({ repository: 'alpine', tags: { semver: 'new' } }), /"new" is not a range of versions/);
    assertProblem(image({ repository: 'alpine', tags: { newest: 0 } }), /newest: 0 is out of range/);
    assertProblem(image({ reference: 'Alpine' }), /reference: .*upper-case letters/);
    assertProblem(image('alpine'), /images\[0\]: expected a map, found text/);
    assertProblem(
      image({ reference: 'alpine', platform: [] }),
      /images\[0\]\.platform: unknown key; the known ones are reference, repository/,
    );
    assertProblem(warmup({ images: [] }), /images: is empty/);
  });

  test('what could not be pulled is a problem', () => {
    assertProblem(image({ reference: 'quay.io/a/b' }), /images\[0\]\.reference: registry quay\.io is not configured/);
    assertProblem(
      image({ repository: 'ghcr.io/other/app', tags: { newest: 1 } }),
      /repository: ghcr\.io\/other\/app is not allowed; add it to "allow"/,
    );
    const broken = problemsOf({
      ...image({ reference: 'quay.io/a/b' }),
      registries: { 'quay.io': { maxConnections: 0 } },
    });
    assert.equal(broken.length, 1, 'a registry with a problem of its own is not told to be missing');
  });

  test('names, and numbers', () => {
    const one = { schedule: 'rate(1 day)', images: [{ reference: 'alpine' }] };
    assertProblem({ warmups: { 'every night': one } }, /^warmups\."every night": is not a name/);
    assertProblem({ warmups: { ['a'.repeat(41)]: one } }, /is not a name/);
    assertProblem({ warmups: [one] }, /^warmups: expected a map of warm-ups, .* found a list/);
    assertProblem({ warmups: { nightly: null } }, /^warmups\.nightly: expected a map, found nothing/);
    assertProblem(warmup({ parallel: 0 }), /parallel: 0 is out of range; write a whole number from 1 to 50/);
    assertProblem(
      warmup({ timezone: 'UTC' }),
      /nightly\.timezone: unknown key; the known ones are schedule, timeZone, parallel, images$/m,
    );
  });

  test('all problems at once', () => {
    const found = problemsOf({
      warmups: {
        a: { schedule: 'hourly', timeZone: 'Mars/Olympus', images: [{ reference: ':' }] },
        b: { images: [{ reference: 'quay.io/a/b' }, {}] },
      },
    });
    assert.deepEqual(
      found.map((problem) => problem.replace(/: .*/s, '')),
      [
        'warmups.a.schedule',
        'warmups.a.timeZone',
        'warmups.a.images[0].reference',
        'warmups.b.schedule',
        'warmups.b.images[1]',
      ],
    );
  });

  for (const schedule of [
    'rate(1 minute)',
    'rate(15 minutes)',
    'rate(1 hour)',
    'rate(10 days)',
    'cron(0 3 * * ? *)',
    'cron(0/15 8-17 ? * MON-FRI *)',
    'cron(30 6,18 L * ? 2026-2030)',
    'cron(0 0 ? JAN,jul 2#1 *)',
    'cron(5 */2 15W 1/3 ? *)',
    'cron(0 12 ? * 6L *)',
  ]) {
    test(`taken: ${schedule}`, () => {
      assert.equal(load(warmup({ schedule })).warmups[0]?.schedule, schedule);
    });
  }

  const refused: [string, RegExp][] = [
    ['0 3 * * *', /is not a schedule; write rate\(1 hour\), rate\(6 hours\) or cron/],
    ['at(2026-01-01T00:00:00)', /is not a schedule/],
    ['rate(0 hours)', /is not a schedule/],
    ['rate(1 hours)', /is not a schedule/],
    ['rate(5 hour)', /is not a schedule/],
    ['rate(5 weeks)', /is not a schedule/],
    ['cron(0 3 * * *)', /has 5 fields; a cron expression has 6/],
    ['cron(60 3 * * ? *)', /"60" cannot be the minutes/],
    ['cron(0 24 * * ? *)', /"24" cannot be the hours/],
    ['cron(0 3 32 * ? *)', /"32" cannot be the day of month/],
    ['cron(0 3 * 0 ? *)', /"0" cannot be the month/],
    ['cron(0 3 ? * 8 *)', /"8" cannot be the day of week/],
    ['cron(0 3 ? * MON-SUN *)', /"MON-SUN" cannot be the day of week/],
    ['cron(0 3 * * ? 1969)', /"1969" cannot be the year/],
    ['cron(0/0 3 * * ? *)', /cannot be the minutes/],
    ['cron(0 3 * * * *)', /exactly one of day of month and day of week must be "\?"/],
    ['cron(0 3 ? * ? *)', /exactly one of/],
    ['cron(? 3 * * ? *)', /cannot be the minutes/],
  ];
  for (const [schedule, expected] of refused) {
    test(`refused: ${schedule}`, () => assertProblem(warmup({ schedule }), expected));
  }

  test('time zones', () => {
    for (const timeZone of [
      'UTC',
      'Europe/Berlin',
      'America/Argentina/Buenos_Aires',
      'Asia/Kolkata',
      'Asia/Calcutta',
    ]) {
      assert.equal(load(warmup({ timeZone })).warmups[0]?.timeZone, timeZone);
    }
    for (const timeZone of ['+01:00', 'Berlin', 'CEST-2', 7])
      assert.equal(problemsOf(warmup({ timeZone })).length, 1, String(timeZone));
  });
});

describe('events', () => {
  test('are taken over', () => {
    const section = { ecrPushes: ['team/**', 'base/*'], senders: ['210987654321'] };
    const { events } = load({ events: section });
    assert.deepEqual(events, section);
    assert.ok(isFrozen(events));
  });

  test('are checked', () => {
    assertProblem({ events: { senders: [210987654321] } }, /senders\[0\]: expected an AWS account, found 210987654321/);
    assertProblem({ events: { senders: ['1234'] } }, /senders\[0\]: is not an AWS account; write its 12 digits/);
    assertProblem({ events: { ecrPushes: ['/team'] } }, /ecrPushes\[0\]: "\/team" is not a repository pattern/);
    assertProblem({ events: { ecrPush: [] } }, /^events\.ecrPush: unknown key; the known ones are ecrPushes, senders/);
    assertProblem(
      { registries: { 'ghcr.io': {} }, events: { ecrPushes: ['team/**'] } },
      /^events\.ecrPushes: has no effect without an ECR registry/,
    );
  });
});

describe('patterns', () => {
  const one = (image: object): object => ({ warmups: { a: { schedule: 'rate(1 day)', images: [image] } } });
  const names: [key: string, section: (pattern: string) => object][] = [
    ['registries."ghcr.io".allow[1]', (it) => ({ registries: { ...registries, 'ghcr.io': { allow: ['a', it] } } })],
    [
      'access.rules[0].repositories[1]',
      (it) => ({ access: { rules: [{ callers: ['**'], repositories: ['**', `${ECR}/${it}`] }] } }),
    ],
    ['warmups.a.images[0].tags.glob', (it) => one({ repository: 'alpine', tags: { glob: it } })],
    ['events.ecrPushes[1]', (it) => ({ events: { ecrPushes: ['a', it] } })],
    ['serve.freshness[0].repositories[0]', (it) => ({ serve: { freshness: [{ repositories: [it] }] } })],
    ['serve.freshness[0].tags[1]', (it) => ({ serve: { freshness: [{ repositories: ['**'], tags: ['a', it] }] } })],
  ];
  const callers: typeof names = [
    [
      'access.rules[0].callers[1]',
      (it) => ({ access: { rules: [{ callers: ['**', `user:${it}`], repositories: ['**'] }] } }),
    ],
    ['access.jwt.claim.anyOf[0]', (it) => ({ access: { jwt: { ...jwt, claim: { name: 'groups', anyOf: [it] } } } })],
  ];

  for (const [key, section] of [...names, ...callers]) {
    test(`${key} takes no other language`, () => {
      const refused = [
        '!team',
        'team-!x',
        '+(*a)',
        '@(a|b)',
        'a|b',
        'a\\*',
        '[a',
        'a]',
        '{a',
        'a}',
        '{a}',
        '[[:alpha:]]',
        'a**',
        '***',
        '[b-a]',
        '[]',
      ];
      for (const pattern of refused) {
        const found = problemsOf(section(pattern));
        assert.equal(found.length, 1, `${pattern}: ${found.join('; ')}`);
        const [problem = ''] = found;
        assert.ok(problem.startsWith(`${key}: `), problem);
        assert.match(
          problem,
          / is not a glob pattern: .*; write a name with \*, \*\*, \?, \{a,b\}, \[a-z\] or \[!a-z\] in it/,
        );
      }
      for (const pattern of ['a', '*', 'a-*', 'a?', '{a,b{c,}}', '[a-z]', '[!0-9_]*', '{a,*}'.repeat(100)]) {
        assert.deepEqual(problemsOf(section(pattern)), [], pattern);
      }
      assert.match(problemsOf(section('a'.repeat(1025))).join(), /^[^ ]+: is longer than 1024 characters/);
    });
  }

  for (const [key, section] of names) {
    test(`${key} takes no character that no name has`, () => {
      for (const pattern of ['a+b', 'a,b', 'a b', '$a', '~a', 'a"b', 'ä']) {
        const found = problemsOf(section(pattern));
        assert.equal(found.length, 1, `${pattern}: ${found.join('; ')}`);
        assert.match(found[0] ?? '', /is not allowed/);
      }
    });
  }

  for (const [key, section] of callers) {
    test(`${key} takes names as identity providers make them`, () => {
      for (const pattern of ['CN=Platform, OU=x', 'jane+ci@example.test', 'a b', 'Plattform-Größe', '[(]EU[)]']) {
        const found = problemsOf(section(pattern));
        assert.deepEqual(found, [], pattern);
      }
    });
  }
});

test('whatever is wrong is said in our words, not in those of the schema library', () => {
  const values = [
    null,
    true,
    -1,
    1.5,
    '',
    'x'.repeat(3000),
    [],
    {},
    [null],
    [''],
    [[]],
    [{}],
    { x: 1 },
    { x: {} },
    { x: { images: [{}] } },
  ];
  const words = /Too (?:small|big)|Invalid|Unrecognized|received|expected (?:string|array|object|record|int|nu)/;
  const documents = values.flatMap((value) => [
    ...['access', 'warmups', 'events'].map((section) => ({ [section]: value })),
    ...['jwt', 'rules'].map((key) => ({ access: { [key]: value } })),
    ...['issuer', 'audience', 'claim'].map((key) => ({ access: { jwt: { ...jwt, [key]: value } } })),
    ...['ecrPushes', 'senders'].map((key) => ({ events: { [key]: value } })),
    ...['schedule', 'timeZone', 'parallel', 'images'].map((key) => ({
      warmups: { a: { schedule: 'rate(1 day)', images: [{ reference: 'alpine' }], [key]: value } },
    })),
    ...['reference', 'repository', 'tags', 'platforms', 'attestations'].map((key) => ({
      warmups: { a: { schedule: 'rate(1 day)', images: [{ [key]: value }] } },
    })),
    ...['glob', 'semver', 'newest'].map((key) => ({
      warmups: { a: { schedule: 'rate(1 day)', images: [{ repository: 'alpine', tags: { [key]: value } }] } },
    })),
  ]);
  let found = 0;
  for (const document of documents) {
    for (const problem of problemsOf(document)) {
      assert.doesNotMatch(problem, words, JSON.stringify(document));
      found++;
    }
  }
  assert.ok(found > documents.length / 2, `${found} of ${documents.length}`);
});
