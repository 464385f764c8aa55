import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadConfig, type Config, type Environment } from '../../../lib/config/config.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-config-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const LAMBDA: Environment = { AWS_LAMBDA_FUNCTION_NAME: 'pull', ENTREPOT_BUCKET: 'b', ENTREPOT_TABLE: 't' };

let files = 0;
function writeFile(text: string | Uint8Array): string {
  const path = join(folder, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}

/** The configuration of a file with this text. */
function load(text: string, environment: Environment = {}): Config {
  return loadConfig({ ENTREPOT_CONFIG: writeFile(text), ...environment }, folder);
}

/** The problems that loading reports, one a line, without the title. */
function problemsOf(action: () => unknown): string[] {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const [title, ...lines] = error.message.split('\n  ');
    assert.match(title ?? '', new RegExp(` has ${lines.length === 1 ? '1 problem' : `${lines.length} problems`}$`));
    return lines;
  }
  return assert.fail('there was no problem');
}

/** Exactly one problem, of this form. */
function assertProblem(text: string, expected: RegExp, environment: Environment = {}): void {
  const found = problemsOf(() => load(text, environment));
  assert.equal(found.length, 1, found.join('\n'));
  assert.match(found[0] ?? '', expected);
}

const registry = (lines: string): string => `registries:\n  registry.example.test:\n    ${lines}\n`;
const settings = (lines: string, environment: Environment = {}) => {
  const found = load(registry(lines), environment).registries.get('registry.example.test');
  assert.ok(found);
  return found;
};

describe('without a file', () => {
  test('the well-known public registries are configured, with the credentials of Docker', () => {
    const { registries } = loadConfig({}, folder);
    assert.equal(registries.get('docker.io')?.endpoint.href, 'https://registry-1.docker.io/');
    assert.equal(registries.get('ghcr.io')?.endpoint.href, 'https://ghcr.io/');
    for (const name of [
      'quay.io',
      'public.ecr.aws',
      'gcr.io',
      'registry.k8s.io',
      'mcr.microsoft.com',
      'registry.gitlab.com',
    ]) {
      assert.deepEqual(registries.get(name)?.credentials, { kind: 'docker' }, name);
      assert.deepEqual(registries.get(name)?.allow, []);
    }
  });

  test('in Lambda they are read without credentials', () => {
    const { registries } = load('registries: {docker.io: {anonymous: accepted}, ghcr.io: {}, quay.io:}', LAMBDA);
    for (const { name, credentials } of registries.values()) assert.deepEqual(credentials, { kind: 'none' }, name);
  });

  test('a named file must exist', () => {
    const found = problemsOf(() => loadConfig({ ENTREPOT_CONFIG: 'absent.yaml' }, folder));
    assert.deepEqual(found, [`ENTREPOT_CONFIG: ${join(folder, 'absent.yaml')}: there is no such file`]);
  });

  test('entrepot.yaml of the working folder is found', () => {
    const cwd = mkdtempSync(join(folder, 'cwd-'));
    writeFileSync(join(cwd, 'entrepot.yaml'), 'registries: {quay.io: {}}');
    assert.deepEqual([...loadConfig({}, cwd).registries.keys()], ['quay.io']);
  });

  test('entrepot.yml is found, too; two of them are a problem, and so is a link to nowhere', () => {
    const cwd = mkdtempSync(join(folder, 'cwd-'));
    assert.equal(loadConfig({}, cwd).file, undefined);
    const [yaml, yml] = [join(cwd, 'entrepot.yaml'), join(cwd, 'entrepot.yml')];
    writeFileSync(yml, 'registries: {quay.io: {}}');
    assert.deepEqual([...loadConfig({}, cwd).registries.keys()], ['quay.io']);
    assert.equal(loadConfig({}, cwd).file, yml);
    writeFileSync(yml, 'registry: {}');
    assert.match(problemsOf(() => loadConfig({}, cwd)).join('\n'), /registry/);
    writeFileSync(yml, 'registries: {quay.io: {}}');
    writeFileSync(yaml, 'registries: {quay.io: {}}');
    const both = problemsOf(() => loadConfig({}, cwd));
    assert.deepEqual(both, [`the folder: has ${yaml} and ${yml}; keep one of them, or name it with ENTREPOT_CONFIG`]);
    assert.equal(loadConfig({ ENTREPOT_CONFIG: 'entrepot.yml' }, cwd).file, yml);
    for (const path of [yaml, yml]) {
      rmSync(yaml, { force: true });
      rmSync(yml, { force: true });
      symlinkSync(join(cwd, 'nowhere'), path);
      assert.deepEqual(
        problemsOf(() => loadConfig({}, cwd)),
        [`${path}: there is no such file`],
      );
    }
  });

  test('everything is frozen', () => {
    const config = loadConfig({}, folder);
    assert.ok(Object.isFrozen(config) && Object.isFrozen(config.limits) && Object.isFrozen(config.limits.pull));
    assert.ok([...config.registries.values()].every((one) => Object.isFrozen(one) && Object.isFrozen(one.platforms)));
  });
});

describe('the store', () => {
  test('is the embedded stack where neither bucket nor table is named', () => {
    assert.deepEqual(loadConfig({}, folder).store, { kind: 'local', home: join(folder, '.entrepot') });
    assert.deepEqual(loadConfig({ ENTREPOT_HOME: 'x/y' }, folder).store, { kind: 'local', home: join(folder, 'x/y') });
    assert.deepEqual(loadConfig({ ENTREPOT_HOME: '', ENTREPOT_BUCKET: '' }, folder).store, {
      kind: 'local',
      home: join(folder, '.entrepot'),
    });
  });

  test('is AWS where both are named; path-style at an endpoint of the environment', () => {
    const both = { ENTREPOT_BUCKET: 'b', ENTREPOT_TABLE: 't' };
    const aws = { kind: 'aws', bucket: 'b', table: 't' };
    assert.deepEqual(loadConfig(both, folder).store, { ...aws, s3PathStyle: false });
    for (const name of ['AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3']) {
      assert.deepEqual(loadConfig({ ...both, [name]: 'http://127.0.0.1:1' }, folder).store, {
        ...aws,
        s3PathStyle: true,
        s3Endpoint: 'http://127.0.0.1:1',
      });
    }
    assert.deepEqual(loadConfig({ ...both, AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:1' }, folder).store, {
      ...aws,
      s3PathStyle: false,
    });
  });

  test('one of them alone is an error, and so is none in Lambda', () => {
    const one = problemsOf(() => loadConfig({ ENTREPOT_BUCKET: 'b' }, folder));
    assert.equal(one.length, 1);
    assert.match(one[0] ?? '', /^ENTREPOT_TABLE: is not set/);
    const other = problemsOf(() => loadConfig({ ENTREPOT_TABLE: 't' }, folder));
    assert.match(other.join(), /^ENTREPOT_BUCKET: is not set/);
    const none = problemsOf(() => load('registries: {quay.io: {}}', { AWS_LAMBDA_FUNCTION_NAME: 'pull' }));
    assert.equal(none.length, 2);
  });
});

test("Docker's configuration is at DOCKER_CONFIG, else in the home", () => {
  assert.equal(loadConfig({}, folder).dockerConfigPath, undefined);
  assert.equal(loadConfig({ HOME: '/home/me' }, folder).dockerConfigPath, '/home/me/.docker/config.json');
  assert.equal(loadConfig({ HOME: '/home/me', DOCKER_CONFIG: '/d' }, folder).dockerConfigPath, '/d/config.json');
});

describe('a registry of the file', () => {
  test('a known one inherits its endpoint, with an empty or missing entry', () => {
    const { registries } = load('registries:\n  docker.io: {}\n  ghcr.io:\n');
    assert.deepEqual([...registries.keys()], ['docker.io', 'ghcr.io']);
    assert.equal(registries.get('docker.io')?.endpoint.href, 'https://registry-1.docker.io/');
    assert.equal(registries.get('ghcr.io')?.maxConnections, 16);
  });

  test('any other is dialled by its name', () => {
    const { registries } = load(
      'registries: {"registry.example.test:5000": {}, "[::1]:5000": {}, index.docker.io: {}}',
    );
    assert.equal(registries.get('registry.example.test:5000')?.endpoint.href, 'https://registry.example.test:5000/');
    assert.equal(registries.get('[::1]:5000')?.endpoint.href, 'https://[::1]:5000/');
    assert.equal(registries.get('docker.io')?.endpoint.href, 'https://registry-1.docker.io/');
  });

  test('every key is taken over', () => {
    const { cert } = selfSigned();
    writeFileSync(join(folder, 'ca.pem'), cert);
    const found = settings(`
      endpoint: http://127.0.0.1:5100
      mirrors: ["https://mirror.example.test"]
      public: true
      credentials: {secret: registry/login}
      realms: [auth.example.test, "http://127.0.0.1:5101"]
      redirects: [storage.internal, "10.0.0.0/8", "http://minio:9000"]
      passRedirects: [CDN.example.test, "*.blobs.example.test"]
      allow: ["team/**"]
      platforms: [linux/amd64, linux/aarch64]
      alias: example
      ca: ./ca.pem
      proxy: http://proxy:3128
      maxConnections: 4`);
    assert.equal(found.endpoint.href, 'http://127.0.0.1:5100/');
    assert.deepEqual(found.mirrors.map(String), ['https://mirror.example.test/']);
    assert.deepEqual(found.credentials, { kind: 'secret', secretId: 'registry/login' });
    assert.deepEqual(found.realms, ['auth.example.test', 'http://127.0.0.1:5101']);
    assert.deepEqual(found.redirects, ['storage.internal', '10.0.0.0/8', 'http://minio:9000']);
    assert.deepEqual(found.passRedirects, ['cdn.example.test', '*.blobs.example.test']);
    assert.deepEqual(found.allow, ['team/**']);
    assert.deepEqual(found.platforms, [
      { os: 'linux', architecture: 'amd64' },
      { os: 'linux', architecture: 'arm64' },
    ]);
    assert.equal(found.alias, 'example');
    assert.equal(found.ca, cert);
    assert.equal(found.proxy?.href, 'http://proxy:3128/');
    assert.equal(found.maxConnections, 4);
  });

  test('a mirror may have a path, and one of several registries is written once', () => {
    const { registries } = load(`
registries:
  docker.io: {}
  ghcr.io: {mirrors: ["https://own.example.test/ghcr"]}
  registry.example.test:5000: {}
mirrors:
  - {endpoint: "http://10.0.0.9:5000/hub", registries: [index.docker.io, ghcr.io]}
  - {endpoint: "https://all.example.test"}
`);
    const mirrorsOf = (name: string) => registries.get(name)?.mirrors.map(String);
    assert.deepEqual(mirrorsOf('docker.io'), ['http://10.0.0.9:5000/hub', 'https://all.example.test/']);
    assert.deepEqual(mirrorsOf('ghcr.io'), [
      'https://own.example.test/ghcr',
      'http://10.0.0.9:5000/hub',
      'https://all.example.test/',
    ]);
    assert.deepEqual(mirrorsOf('registry.example.test:5000'), ['https://all.example.test/']);
  });

  for (const [section, problem] of [
    ['mirrors: https://a.example.test', /^mirrors: expected a list/],
    ['mirrors: ["https://a.example.test"]', /^mirrors\[0\]: expected a map/],
    ['mirrors: [{registries: [docker.io]}]', /^mirrors\[0\]\.endpoint: expected a URL/],
    ['mirrors: [{endpoint: "https://a.example.test/?q=1"}]', /^mirrors\[0\]\.endpoint: has a query/],
    ['mirrors: [{endpoint: "ftp://a.example.test"}]', /^mirrors\[0\]\.endpoint: the scheme/],
    ['mirrors: [{endpoint: "https://a.example.test", registries: []}]', /registries: is empty; leave it out for all/],
    [
      'mirrors: [{endpoint: "https://a.example.test", registries: [quay.io]}]',
      /registries\[0\]: quay\.io is not among/,
    ],
    ['mirrors: [{endpoint: "https://a.example.test", credentials: none}]', /^mirrors\[0\]\.credentials: unknown key/],
  ] as const) {
    test(`what is wrong with ${section} is said where it stands`, () => {
      assertProblem(`registries: {docker.io: {}}\n${section}`, problem);
    });
  }

  test('of the file of "ca" the certificates are kept and nothing else', () => {
    const certs = [selfSigned('a.example.test').cert, selfSigned().cert, selfSigned('10.0.0.1').cert];
    const text = certs.map((cert, n) => `# CA ${n}\nsubject=CN = x\n${cert}bag attributes: hunter2\n`).join('\n');
    writeFileSync(join(folder, 'several.pem'), text.replaceAll('\n', '\r\n'));
    assert.equal(settings('ca: several.pem').ca, certs.join(''));
  });

  for (const label of [
    'PRIVATE KEY',
    'RSA PRIVATE KEY',
    'EC PRIVATE KEY',
    'ENCRYPTED PRIVATE KEY',
    'OPENSSH PRIVATE KEY',
  ]) {
    test(`refused: a file of "ca" with a ${label} before or behind its certificate`, () => {
      const { cert, key } = selfSigned();
      const secret = key.replaceAll('PRIVATE KEY', label);
      for (const text of [cert + secret, secret + cert, secret, cert + secret.split('-----END')[0]!]) {
        writeFileSync(join(folder, 'key.pem'), text);
        assertProblem(registry('ca: key.pem'), /ca: .*key\.pem: holds a private key; take it out/);
      }
    });
  }

  test('refused: a file of "ca" with a certificate that cannot be read', () => {
    const { cert } = selfSigned();
    const broken = cert.replace(/(?<=-----\n)./, '');
    for (const text of [broken, cert + broken]) {
      writeFileSync(join(folder, 'broken.pem'), text);
      assertProblem(registry('ca: broken.pem'), /ca: .*broken\.pem: holds a certificate that cannot be read/);
    }
  });

  test('its endpoint may be private where it was written (I8), or is that of ECR', () => {
    const mayBePrivate = (file: string): boolean | undefined =>
      [...load(file).registries.values()][0]?.endpointMayBePrivate;
    assert.equal(mayBePrivate('registries: {quay.io: {}}'), false);
    assert.equal(mayBePrivate('registries: {registry.example.test: {mirrors: ["https://10.0.0.1"]}}'), false);
    assert.equal(mayBePrivate('registries: {"10.0.0.1:5000": {}}'), false);
    assert.equal(mayBePrivate('registries: {quay.io: {endpoint: https://quay.io}}'), true);
    const ecr = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
    assert.equal(mayBePrivate(`registries: {${ecr}: {}}`), true);
    assert.equal(mayBePrivate(`registries: {${ecr}: {credentials: none}}`), false);
    for (const known of loadConfig({}, folder).registries.values()) assert.equal(known.endpointMayBePrivate, false);
  });

  test('public is what the built-in list has at its own endpoints, or what says so, with mirrors that are public, too (I9)', () => {
    const isPublic = (file: string): boolean | undefined => [...load(file).registries.values()].at(-1)?.isPublic;
    for (const known of loadConfig({}, folder).registries.values()) assert.equal(known.isPublic, true, known.name);
    for (const [entry, expected] of [
      ['quay.io: {}', true],
      ['quay.io: {endpoint: https://quay.io}', true],
      ['quay.io: {endpoint: "https://quay.io:443"}', true],
      ['quay.io: {endpoint: http://quay.io}', false],
      ['quay.io: {endpoint: "https://quay.io:8443"}', false],
      ['quay.io: {endpoint: https://ghcr.io}', false],
      ['quay.io: {public: false}', false],
      ['docker.io: {}', true],
      ['docker.io: {endpoint: https://registry-1.docker.io}', true],
      ['docker.io: {endpoint: http://10.0.0.1:5000}', false],
      ['docker.io: {endpoint: http://10.0.0.1:5000, public: true}', true],
      ['registry.example.test: {}', false],
      ['registry.example.test: {credentials: none}', false],
      ['registry.example.test: {public: true}', true],
      ['registry.example.test: {endpoint: https://quay.io}', false],
      ['evil.quay.io: {}', false],
      ['"quay.io:5000": {}', false],
      ['quay.io: {mirrors: []}', true],
      ['quay.io: {mirrors: ["http://10.0.0.1:5000"]}', false],
      ['quay.io: {mirrors: ["https://ghcr.io", "https://mirror.gcr.io"]}', true],
      ['quay.io: {mirrors: ["http://ghcr.io"]}', false],
      ['quay.io: {mirrors: ["https://ghcr.io", "https://mirror.example.test"]}', false],
      ['quay.io: {mirrors: ["https://mirror.example.test"], public: true}', false],
      ['mirror.example.test: {public: true}, quay.io: {mirrors: ["https://mirror.example.test"]}', true],
      ['mirror.example.test: {}, quay.io: {mirrors: ["https://mirror.example.test"]}', false],
    ] as const) {
      assert.equal(isPublic(`registries: {${entry}}`), expected, entry);
    }
  });

  test('credentials in all their forms', () => {
    assert.deepEqual(settings('credentials: none').credentials, { kind: 'none' });
    assert.deepEqual(settings('credentials: docker').credentials, { kind: 'docker' });
    const name = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
    const ecr = (entry: string) => load(`registries: {${name}: ${entry}}`).registries.get(name)?.credentials;
    assert.deepEqual(ecr('{}'), { kind: 'ecr' });
    assert.deepEqual(ecr('{credentials: none}'), { kind: 'none' });
    const roleArn = 'arn:aws:iam::123456789012:role/reader';
    assert.deepEqual(ecr(`{credentials: {ecr: {roleArn: "${roleArn}"}}}`), { kind: 'ecr', roleArn });
    assert.deepEqual(ecr(`{credentials: {ecr: {roleArn: "${roleArn}", externalId: "x1"}}}`), {
      kind: 'ecr',
      roleArn,
      externalId: 'x1',
    });
    assertProblem(registry('credentials: ecr'), /credentials: is ecr, but neither name nor endpoint/);
  });

  test('a secret in the wrong place is not shown', () => {
    for (const line of [
      'credentials: {username: me, password: hunter2}',
      'credentials: hunter2',
      'endpoint: https://me:hunter2@registry.example.test',
      'mirrors: ["https://me:hunter2@registry.example.test"]',
      'proxy: http://me:hunter2@proxy:3128',
      'passRedirects: ["https://me:hunter2@cdn.example.test"]',
      'password: hunter2',
      'credentials: "hunter2\n',
    ]) {
      for (const problem of problemsOf(() => load(registry(line)))) assert.doesNotMatch(problem, /hunter2/);
    }
  });

  test('where credentials are used on AWS, what they may read must be said', () => {
    const required = /^registries\."registry\.example\.test"\.allow: is required where credentials are used on AWS/;
    assertProblem(registry('credentials: {secret: x}'), required, LAMBDA);
    assertProblem(registry('{credentials: {secret: x}, allow: []}'), required, LAMBDA);
    const name = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
    assertProblem(`registries: {${name}: {}}`, /allow: is required/, LAMBDA);
    assert.deepEqual(settings('{credentials: {secret: x}, allow: ["**"]}', LAMBDA).allow, ['**']);
    assert.deepEqual(settings('credentials: none', LAMBDA).allow, []);
    assert.deepEqual(settings('{}', LAMBDA).credentials, { kind: 'none' });
    assert.deepEqual(settings('credentials: {secret: x}').allow, [], 'on a workstation the user owns the credentials');
  });

  test('on AWS there is no Docker configuration', () => {
    assertProblem(
      registry('{credentials: docker, allow: ["**"]}'),
      /credentials: is docker, but on AWS there is no/,
      LAMBDA,
    );
    assert.equal(problemsOf(() => load(registry('credentials: docker'), LAMBDA)).length, 2, 'along with allow');
    assert.deepEqual(settings('credentials: docker').credentials, { kind: 'docker' });
  });

  test('on AWS Docker Hub without credentials must be accepted in so many words', () => {
    const refused =
      /^registries\."docker\.io"\.credentials: is none, but Docker Hub counts .*shared with other AWS customers.*anonymous: accepted/;
    const hub = (entry: string): string => `registries: {docker.io: ${entry}}`;
    assertProblem(hub('{}'), refused, LAMBDA);
    assertProblem(hub('{credentials: none}'), refused, LAMBDA);
    assertProblem(hub('{endpoint: https://registry-1.docker.io}'), refused, LAMBDA);
    assertProblem('registries: {index.docker.io: }', /^registries\."index\.docker\.io"\.credentials: is none/, LAMBDA);
    assertProblem('limits: {}', refused, LAMBDA);
    const noFile = problemsOf(() => loadConfig(LAMBDA, folder));
    assert.equal(noFile.length, 1);
    assert.match(noFile[0] ?? '', refused);
    // By another name it is the same Docker Hub.
    const renamed = 'hub.example.test: {endpoint: https://registry-1.docker.io';
    assertProblem(`registries: {${renamed}}}`, /"hub\.example\.test"\.credentials: is none, but Docker Hub/, LAMBDA);
    assert.ok(load(`registries: {${renamed}, anonymous: accepted}}`, LAMBDA).registries.has('hub.example.test'));
    for (const entry of [
      '{anonymous: accepted}',
      '{credentials: {secret: hub}, allow: ["**"]}',
      '{endpoint: https://hub.example.test}',
    ]) {
      assert.ok(load(hub(entry), LAMBDA).registries.has('docker.io'), entry);
    }
    assertProblem(hub('{anonymous: yes}'), /anonymous: write accepted, or leave it out/);
    assertProblem('registries: {quay.io: {anonymous: accepted}}', /anonymous: is for Docker Hub only/);
  });

  test('what is packaged for AWS is checked as on Lambda, without a bucket or a table', () => {
    const path = writeFile(
      'registries: {docker.io: {}, ghcr.io: {credentials: {secret: x}}, quay.io: {credentials: docker, allow: [a]}}',
    );
    const found = problemsOf(() => loadConfig({ ENTREPOT_CONFIG: path }, folder, { target: 'aws' }));
    assert.deepEqual(
      found.map((problem) => problem.replace(/: .*/s, '')),
      ['registries."docker.io".credentials', 'registries."ghcr.io".allow', 'registries."quay.io".credentials'],
    );
    const right = writeFile('registries: {quay.io: {}}');
    const config = loadConfig({ ENTREPOT_CONFIG: right }, folder, { target: 'aws' });
    assert.deepEqual(config.registries.get('quay.io')?.credentials, { kind: 'none' });
    assert.equal(config.store.kind, 'local');
  });

  test('nothing that is packaged leads to this machine; without packaging it may', () => {
    const loopbacks = [
      'localhost',
      'LOCALHOST:5000',
      'x.localhost',
      'localhost.',
      '127.0.0.1',
      '127.1:80',
      '2130706433',
      '0.0.0.0',
    ];
    const all = [...loopbacks, '[::1]:5000', '[::]', '[::ffff:127.0.0.1]', '[0:0:0:0:0:0:0:1]'];
    const packaged = (yaml: string) => loadConfig({ ENTREPOT_CONFIG: writeFile(yaml) }, folder, { target: 'aws' });
    const withUrl = (url: string): readonly (readonly [string, RegExp])[] => [
      [`registries: {quay.io: {endpoint: "${url}"}}`, /^registries\."quay\.io"\.endpoint: is http/],
      [
        `registries: {quay.io: {mirrors: ["https://a.test", "${url}"]}}`,
        /^registries\."quay\.io"\.mirrors\[1\]: is http/,
      ],
      [
        `{mirrors: [{endpoint: "${url}"}], registries: {quay.io: {}}}`,
        /^registries\."quay\.io"\.mirrors\[0\]: is http/,
      ],
      [`registries: {quay.io: {proxy: "${url}"}}`, /^registries\."quay\.io"\.proxy: is http/],
      [`{registries: {quay.io: {}}, serve: {blobEndpoint: "${url}"}}`, /^serve\.blobEndpoint: is http/],
    ];
    for (const host of all) {
      for (const [yaml, expected] of withUrl(`http://${host}`)) {
        const [problem = '', ...others] = problemsOf(() => packaged(yaml));
        assert.match(problem, expected, yaml);
        assert.deepEqual(others, []);
      }
    }
    // By its name alone, too.
    assert.match(
      problemsOf(() => packaged('registries: {"localhost:5000": {}}'))[0] ?? '',
      /"localhost:5000"\.endpoint: is https/,
    );
    for (const host of ['10.0.0.1', 'registry.internal', '192.168.1.1:5000', '[fd00::1]', 'localhost.example.test']) {
      for (const [yaml] of withUrl(`http://${host}`)) assert.ok(packaged(yaml), yaml);
    }
    assert.ok(load('registries: {quay.io: {endpoint: "http://127.0.0.1:5000"}}'));
  });

  const rules: [string, RegExp][] = [
    ['endpoint: example', /endpoint: is not a URL; write https:\/\/host/],
    ['endpoint: ftp://example', /endpoint: the scheme "ftp:" is not known/],
    ['endpoint: https://example/v2', /endpoint: has a path or query/],
    ['endpoint: https://me:pw@example', /endpoint: holds a user name or password; take it out/],
    ['endpoint: 5', /endpoint: expected a URL such as https:\/\/host\[:port\], found 5/],
    ['mirrors: https://example', /mirrors: expected a list, for example .*, found text/],
    ['mirrors: [https://a, "x y"]', /^registries\."registry\.example\.test"\.mirrors\[1\]: is not a URL/],
    ['credentials: basic', /credentials: write docker, none, ecr, {secret/],
    ['credentials: {ecr: {roleArn: reader}}', /credentials\.ecr\.roleArn: write arn:aws:iam/],
    ['credentials: {secret: x, user: y}', /credentials\.user: unknown key; write docker, none, ecr, {secret/],
    ['credentials: {secret: ""}', /credentials\.secret: is empty; write the name or ARN of a secret/],
    ['credentials: {ecr: {externalId: xyz}}', /credentials: write docker/],
    [
      'credentials: {ecr: {roleArn: "arn:aws:iam::123456789012:role/r", externalId: "x"}}',
      /credentials\.ecr\.externalId: write the external id of the role, 2 to 1224 characters/,
    ],
    ['realms: ["https://a/b"]', /realms\[0\]: has a path or query/],
    ['realms: ["a/b"]', /realms\[0\]: "a\/b" is not a host/],
    ['redirects: ["10.0.0.0/64"]', /redirects\[0\]: "10.0.0.0\/64" is not a host or a range; .*CIDR/],
    ...[
      ...['cdn', '*', '*.test', '*.*.example.test', 'a.*.example.test', '**.example.test', 'cdn-*.example.test'],
      ...['cdn.example.test:443', 'https://cdn.example.test', 'cdn.example.test/x', 'cdn.example.test.'],
      ...['10.0.0.1', '0x7f.1', '10.0.0.0/8', '[2606:4700::1]', `${'a'.repeat(64)}.example.test`],
    ].map((host): [string, RegExp] => [
      `passRedirects: ["${host}"]`,
      /passRedirects\[0\]: is not a host name for redirects; write the name alone/,
    ]),
    ['passRedirects: cdn.example.test', /passRedirects: expected a list, for example .*, found text/],
    ['allow: ["/team"]', /allow\[0\]: "\/team" is not a repository pattern/],
    ['allow: ["registry.example.test:5000/team"]', /allow\[0\]: .* is not a repository pattern/],
    ['allow: [""]', /allow\[0\]: is empty; write a repository pattern/],
    ['platforms: [linux]', /platforms\[0\]: platform "linux": write it as os\/architecture/],
    ['alias: a/b', /alias: "a\/b" cannot be an alias/],
    ['alias: library', /alias: "library" cannot be an alias/],
    ['ca: ./absent.pem', /ca: .*absent\.pem: there is no such file/],
    ['ca: .', /ca: .* is not a regular file/],
    ['ca: ./0.yaml', /ca: .*0\.yaml: holds no certificate in PEM form/],
    ['proxy: socks5://proxy', /proxy: the scheme "socks5:" is not known/],
    ['public: yes please', /public: expected true or false, found text/],
    ['maxConnections: 0', /maxConnections: must be 1 or more/],
    ['maxConnections: many', /maxConnections: expected a whole number from 1 to 256, found text/],
    ['mirors: []', /^registries\."registry\.example\.test"\.mirors: unknown key; the known ones are endpoint, mirrors/],
    ['- a', /^registries\."registry\.example\.test": expected a map, found a list/],
  ];
  for (const [line, expected] of rules) {
    test(`refused: ${line}`, () => {
      assertProblem(registry(line), expected);
    });
  }

  test('whatever is wrong is said in our words, not in those of the schema library', () => {
    const keys =
      'endpoint mirrors credentials realms redirects passRedirects allow platforms alias ca proxy anonymous maxConnections'.split(
        ' ',
      );
    const values = [null, true, -1, 1.5, 1e30, Infinity, '', 'x'.repeat(3000), [], {}, [null], [''], [[]], { x: 1 }];
    const role = { roleArn: 'arn:aws:iam::123456789012:role/r' };
    const wrong = [
      ...values.flatMap((value) => [
        ...keys.map((key) => ({ [key]: value })),
        { credentials: { secret: value } },
        { credentials: { ecr: value } },
        { credentials: { ecr: { roleArn: value } } },
        { credentials: { ecr: { ...role, externalId: value } } },
        { credentials: { ecr: role, extra: value } },
      ]),
      ...values,
    ];
    const documents = [
      ...wrong.map((entry) => ({ registries: { 'a.test': entry } })),
      ...values.flatMap((value) => [{ registries: value }, { limits: value }, { limits: { depth: value } }, value]),
    ];
    const words =
      /Too (?:small|big)|Invalid|Unrecognized|received|[<>]=|expected (?:string|array|object|record|int|nu)/;
    let found = 0;
    for (const document of documents) {
      // YAML of its own infinity; everything else of JSON is YAML.
      const text = JSON.stringify(document, (_key, value: unknown) => (value === Infinity ? '.inf' : value));
      try {
        load(text.replaceAll('".inf"', '.inf'));
      } catch (error) {
        assert.ok(error instanceof ConfigError, String(error));
        assert.doesNotMatch(error.message, words);
        found++;
      }
    }
    assert.ok(found > documents.length / 2, `${found} of ${documents.length}`);
  });

  test('a missing CA is listed along with the other problems of its registry', () => {
    const found = problemsOf(() => load(registry('{ca: ./absent.pem, maxConnections: 0}')));
    assert.match(found.join('\n'), /maxConnections: must be 1.*\n.*ca: .*absent\.pem: there is no such file$/);
  });

  test('names', () => {
    assertProblem('registries: {Bad_Name: {}}', /^registries\.Bad_Name: registry "Bad_Name": write a host name/);
    assertProblem('registries: {team: {}}', /^registries\.team: cannot be named by a reference/);
    assertProblem(
      'registries: {docker.io: {}, index.docker.io: {}}',
      /"index\.docker\.io": is docker\.io, which the file has/,
    );
    assertProblem('registries: {}', /^registries: names no registry/);
    assertProblem('registries:', /^registries: names no registry/);
    assertProblem('registries: [docker.io]', /^registries: expected a map of registries, .* found a list/);
  });

  test('one alias leads to one registry', () => {
    assertProblem(
      'registries: {a.test: {alias: x}, b.test: {alias: x}}',
      /"b\.test"\.alias: is the alias of a\.test already/,
    );
    assertProblem(
      'registries: {a.test: {alias: b.test}, b.test: {}}',
      /"a\.test"\.alias: is the name of a registry here/,
    );
  });
});

describe('limits', () => {
  test('have defaults', () => {
    const { limits } = load('limits: {}');
    assert.deepEqual(limits, {
      pull: { manifestBytes: 4 << 20, depth: 4, fanOut: 1000, totalBytes: 100 * 2 ** 30, parallelBlobs: 4 },
      upstream: {
        manifestBytes: 4 << 20,
        redirects: 5,
        attempts: 5,
        retryAfterMaxMs: 60_000,
        connectTimeoutMs: 10_000,
        headersTimeoutMs: 30_000,
        bodyTimeoutMs: 30_000,
        stalls: 5,
      },
      partBytes: 8 << 20,
      windowParts: 4,
      leaseMs: 15_000,
    });
  });

  test('may be said, zero included', () => {
    const { limits } = load('limits: {depth: 0, redirects: 0, leaseSeconds: 3, retryAfterMaxSeconds: 0}');
    assert.equal(limits.pull.depth, 0);
    assert.equal(limits.upstream.redirects, 0);
    assert.equal(limits.upstream.retryAfterMaxMs, 0);
    assert.equal(limits.leaseMs, 3000);
  });

  test('are checked', () => {
    assertProblem(
      'limits: {partBytes: 1000}',
      /^limits\.partBytes: 1000 is out of range; write a whole number from 5242880/,
    );
    assertProblem('limits: {depth: 1.5}', /^limits\.depth: expected a whole number from 0 to 16 .*, found 1\.5/);
    assertProblem('limits: {depth: "4"}', /^limits\.depth: expected a whole number .*, found text/);
    assertProblem('limits: {dept: 4}', /^limits\.dept: unknown key; the known ones are manifestBytes, depth/);
    assertProblem('limits: 4', /^limits: expected a map, found 4/);
  });
});

describe('the file as a whole', () => {
  test('an empty one says nothing', () => {
    assert.ok(load('').registries.has('docker.io'));
    assert.ok(load('# nothing yet\n').registries.has('docker.io'));
  });

  test('must be a map', () => {
    assertProblem('- a', /^the file: expected a map, found a list/);
    assertProblem('just text', /^the file: expected a map, found text/);
  });

  test('syntax errors come with their line', () => {
    assertProblem(
      'registries:\n  a.test: {}\n  a.test: {}\n',
      /^line 3, column 3: not valid YAML: Map keys must be unique/,
    );
    assertProblem('registries: "open\n', /^line 2, column 1: not valid YAML: Missing closing "quote/);
    assertProblem('limits: !secret {}\n', /^line 1, column 9: not valid YAML: Unresolved tag: !secret/);
    assertProblem('a: 1\n---\nb: 2\n', /not valid YAML: Source contains multiple documents/);
  });

  test('is bounded: size, aliases, encoding', () => {
    assertProblem(`#${'x'.repeat(1024 * 1024)}`, /is larger than 1048576 bytes/);
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x,x]',
      ...['b', 'c', 'd'].map(
        (name, index) =>
          `${name}: &${name} [${Array(10)
            .fill(`*${'abc'[index] ?? ''}`)
            .join()}]`,
      ),
    ];
    assertProblem(bomb.join('\n'), /^YAML: cannot be expanded: Excessive alias count/);
    assert.match(
      problemsOf(() => loadConfig({ ENTREPOT_CONFIG: writeFile(Uint8Array.of(0xff, 0xfe)) }, folder)).join(),
      /is not text in UTF-8/,
    );
    assert.match(problemsOf(() => loadConfig({ ENTREPOT_CONFIG: folder }, folder)).join(), /is not a regular file/);
  });

  test('every problem is listed at once, those of the environment too', () => {
    const found = problemsOf(() =>
      load(
        `
extra: 1
registries:
  a.test: {endpoint: nowhere, mirrors: [1, "ftp://x"], unknown: 1, credentials: {secret: x}}
  b_test: {platforms: [windows]}
limits: {depth: -1, fanOut: 0}
`,
        { AWS_LAMBDA_FUNCTION_NAME: 'pull', ENTREPOT_BUCKET: 'b' },
      ),
    );
    assert.deepEqual(
      found.map((problem) => problem.replace(/: .*/s, '')).sort(),
      [
        'ENTREPOT_TABLE',
        'extra',
        'limits.depth',
        'limits.fanOut',
        'registries."a.test".allow',
        'registries."a.test".endpoint',
        'registries."a.test".mirrors[0]',
        'registries."a.test".mirrors[1]',
        'registries."a.test".unknown',
        'registries.b_test',
        'registries.b_test.platforms[0]',
      ].sort(),
    );
  });
});
