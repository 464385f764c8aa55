import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CLIENTS, mirrorConfig } from '../../../lib/cli/mirror-config/mirror-config.ts';
import {
  parseCacheOrigin,
  prefixOf,
  type ServedCache,
  type ServedRegistry,
  tomlString,
} from '../../../lib/cli/mirror-config/served-cache.ts';
import { InvalidRequestError } from '../../../lib/errors/cache-error.ts';

const HUB: ServedRegistry = { name: 'docker.io', endpoint: new URL('https://registry-1.docker.io') };
const GHCR: ServedRegistry = { name: 'ghcr.io', endpoint: new URL('https://ghcr.io') };
const PORT: ServedRegistry = {
  name: 'registry.example.test:5000',
  endpoint: new URL('http://10.0.0.7:5000'),
  alias: 'example',
};
const V6: ServedRegistry = { name: '[::1]:5000', endpoint: new URL('http://[::1]:5000') };

const cache = (url: string, registries = [HUB, GHCR, PORT], needsLogin = false): ServedCache => ({
  origin: parseCacheOrigin(url),
  registries,
  needsLogin,
});

/** By path. */
function contents(client: (typeof CLIENTS)[number], served: ServedCache): Record<string, string> {
  return Object.fromEntries(mirrorConfig(client, served).files.map(({ path, content }) => [path, content]));
}

describe('containerd', () => {
  test('a hosts.toml for each registry, and the lines of config.toml for both kinds of containerd', () => {
    const files = contents('containerd', cache('https://cache.example.test'));
    assert.deepEqual(Object.keys(files), [
      'certs.d/docker.io/hosts.toml',
      'certs.d/ghcr.io/hosts.toml',
      'certs.d/registry.example.test_5000_/hosts.toml',
      'config-containerd-1.toml',
      'config-containerd-2.toml',
    ]);
    assert.equal(
      files['certs.d/docker.io/hosts.toml'],
      `# Asked last, when the cache is down or refuses. Without this line containerd would ask the registry all the same.
server = "https://registry-1.docker.io"

[host."https://cache.example.test"]
  capabilities = ["pull", "resolve"]
  # If the cache cannot be reached, a pull goes on after this time. containerd 1.x ignores this line and waits 30 s.
  dial_timeout = "3s"
`,
    );
    assert.match(
      files['certs.d/registry.example.test_5000_/hosts.toml'] ?? '',
      /^server = "http:\/\/10\.0\.0\.7:5000"$/m,
    );
    assert.equal(
      files['config-containerd-1.toml'],
      `# containerd 1.x
version = 2

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
`,
    );
    assert.equal(
      files['config-containerd-2.toml'],
      `# containerd 2.x
version = 3

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
`,
    );
  });

  test('if the cache needs a login, the header is there to be filled in, as a comment', () => {
    const { files, notes } = mirrorConfig('containerd', cache('https://cache.example.test', [HUB], true));
    assert.equal(
      files[0]?.content.split('\n\n').at(-1),
      `  # The cache needs a login: docs/signing-in.md. Remove the "#", and write Basic and the base64 of user:password.
  # [host."https://cache.example.test".header]
  #   Authorization = "Basic …"
`,
    );
    assert.match(notes.join('\n'), /readable for root alone/);
    assert.doesNotMatch(notes.join('\n'), /plain http/);
    assert.match(mirrorConfig('containerd', cache('http://10.0.0.1', [HUB], true)).notes.join('\n'), /plain http/);
  });

  test('certificates are always verified', () => {
    for (const url of ['https://cache.example.test', 'http://127.0.0.1:5000']) {
      assert.doesNotMatch(JSON.stringify(mirrorConfig('containerd', cache(url))), /skip_verify/);
    }
  });
});

describe('Docker', () => {
  const daemon = (served: ServedCache): unknown => {
    const file = contents('docker', served)['daemon.json'];
    return file === undefined ? undefined : JSON.parse(file);
  };

  test('Docker Hub by registry-mirrors, the others by name', () => {
    const made = mirrorConfig('docker', cache('https://cache.example.test'));
    assert.equal(
      made.files[0]?.content,
      `{
  "registry-mirrors": [
    "https://cache.example.test"
  ]
}
`,
    );
    assert.equal(made.files[0].isFragment, true);
    assert.ok(made.notes.includes('ghcr.io: docker pull cache.example.test/ghcr.io/team/app:v1'));
    assert.ok(made.notes.includes('registry.example.test:5000: docker pull cache.example.test/example/team/app:v1'));
    assert.ok(!made.notes.some((note) => note.startsWith('docker.io:')));
  });

  test('plain http off loopback must be allowed to dockerd; loopback is', () => {
    const mirrors = (url: string) => ({ 'registry-mirrors': [url] });
    assert.deepEqual(daemon(cache('http://127.0.0.1:5000')), mirrors('http://127.0.0.1:5000'));
    assert.deepEqual(daemon(cache('http://localhost:5000')), mirrors('http://localhost:5000'));
    assert.deepEqual(daemon(cache('http://10.0.0.1:5000')), {
      ...mirrors('http://10.0.0.1:5000'),
      'insecure-registries': ['10.0.0.1:5000'],
    });
    assert.deepEqual(daemon(cache('http://[::1]:5000')), {
      ...mirrors('http://[::1]:5000'),
      'insecure-registries': ['[::1]:5000'],
    });
  });

  test('no mirror where it could not work: without docker.io, and if the cache needs a login', () => {
    assert.equal(daemon(cache('https://cache.example.test', [GHCR])), undefined);
    const made = mirrorConfig('docker', cache('https://cache.example.test', [HUB], true));
    assert.deepEqual(made.files, []);
    assert.match(made.notes.join('\n'), /docker login cache\.example\.test/);
    assert.ok(made.notes.includes('docker.io: docker pull cache.example.test/docker.io/library/alpine:3.20'));
    assert.deepEqual(daemon(cache('http://10.0.0.1:5000', [HUB], true)), { 'insecure-registries': ['10.0.0.1:5000'] });
  });

  test('a registry with a port has its name with "_", and an IPv6 address without an alias has none, and the note says so', () => {
    const { alias: _, ...withPort } = PORT;
    const { notes } = mirrorConfig('docker', cache('https://cache.example.test', [withPort, V6]));
    const pull = 'docker pull cache.example.test/registry.example.test_5000/team/app:v1';
    assert.ok(notes.includes(`registry.example.test:5000: ${pull}`));
    assert.ok(notes.some((note) => note.startsWith('[::1]:5000: Docker cannot name it')));
  });
});

describe('Podman', () => {
  test('each registry has its folder of the cache as mirror, and itself as the last resort', () => {
    assert.deepEqual(contents('podman', cache('https://cache.example.test')), {
      'registries.conf.d/50-entrepot.conf': `[[registry]]
prefix = "docker.io"
location = "docker.io"

[[registry.mirror]]
location = "cache.example.test/docker.io"
pull-from-mirror = "all"

[[registry]]
prefix = "ghcr.io"
location = "ghcr.io"

[[registry.mirror]]
location = "cache.example.test/ghcr.io"
pull-from-mirror = "all"

[[registry]]
prefix = "registry.example.test:5000"
location = "10.0.0.7:5000"
insecure = true

[[registry.mirror]]
location = "cache.example.test/example"
pull-from-mirror = "all"
`,
    });
  });

  test('plain http is insecure, on loopback too', () => {
    const file = contents('podman', cache('http://127.0.0.1:5000', [HUB]))['registries.conf.d/50-entrepot.conf'];
    assert.match(
      file ?? '',
      /location = "127\.0\.0\.1:5000\/docker\.io"\npull-from-mirror = "all"\ninsecure = true\n$/,
    );
  });

  test('an IPv6 address without an alias is left out, and the note says so', () => {
    const nameless = V6;
    const made = mirrorConfig('podman', cache('https://cache.example.test', [nameless]));
    assert.deepEqual(made.files, []);
    assert.match(made.notes[0] ?? '', /^\[::1\]:5000: cannot be mirrored/);
  });
});

test('no client is given a path that leaves the folder, or a name that is none', () => {
  const odd = V6;
  for (const client of CLIENTS) {
    for (const { path, place, content } of mirrorConfig(client, cache('https://[::1]', [HUB, odd])).files) {
      assert.match(path, /^[\w.[\]:-]+(?:\/[\w.[\]:-]+)*$/);
      assert.ok(!path.split('/').includes('..') && place.startsWith('/etc/'), path);
      assert.ok(content.endsWith('\n') && !content.endsWith('\n\n'));
    }
  }
});

test('prefixes: the name, the alias where the name has a port, else the name with "_", and nothing for IPv6', () => {
  assert.equal(prefixOf(GHCR), 'ghcr.io');
  assert.equal(prefixOf({ ...GHCR, alias: 'gh' }), 'ghcr.io');
  assert.equal(prefixOf(PORT), 'example');
  assert.equal(prefixOf({ name: PORT.name, endpoint: PORT.endpoint }), 'registry.example.test_5000');
  assert.equal(prefixOf({ name: '[::1]', endpoint: new URL('http://[::1]') }), undefined);
});

test('TOML strings', () => {
  assert.equal(tomlString('a"b\\c\n\u0000\u007f'), '"a\\"b\\\\c\\n\\u0000\\u007f"');
});

describe('the URL of the cache', () => {
  test('scheme, host and port', () => {
    assert.equal(parseCacheOrigin('https://Cache.example.test:443/').origin, 'https://cache.example.test');
    assert.equal(parseCacheOrigin('http://127.0.0.1:5000').host, '127.0.0.1:5000');
  });

  test('everything else is told, and what may be a password is not repeated', () => {
    const bad = {
      'cache.example.test': /is not a URL/,
      'cache.example.test:5000': /neither https: nor http:/,
      'ftp://cache.example.test': /neither https: nor http:/,
      'https://cache.example.test/v2/': /has a path or query/,
      'https://cache.example.test?ns=x': /has a path or query/,
      'https://user:secret@cache.example.test': /holds a user name or password/,
      'user:secret@cache.example.test': /holds a user name or password/,
    };
    for (const [text, message] of Object.entries(bad)) {
      assert.throws(
        () => parseCacheOrigin(text),
        (error) =>
          error instanceof InvalidRequestError && message.test(error.message) && !error.message.includes('secret'),
        text,
      );
    }
  });
});
