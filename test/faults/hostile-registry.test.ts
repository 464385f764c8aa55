import assert from 'node:assert/strict';
import fc from 'fast-check';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, isIP, type AddressInfo, type LookupFunction, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { CacheError } from '../../lib/errors/cache-error.ts';
import { digestOf } from '../../lib/oci/digest.ts';
import { OCI_MANIFEST } from '../../lib/oci/media-type.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { createUpstreams } from '../../lib/registry/client.ts';
import type { RegistrySettings, UpstreamLimits } from '../../lib/registry/settings.ts';
import type { Upstream } from '../../lib/registry/upstream.ts';
import { canaryIn, formsOf, textOfError } from '../support/canary.ts';

/**
 * A registry that answers whatever it likes: addresses in every spelling, redirects, challenges, broken streams. Whatever it does, no host is dialled that the
 * configuration does not allow (I8), no secret goes elsewhere or into an error (I7), and what is given out is what was asked for (I1). On failure fast-check
 * prints the seed.
 */
const CASES = 120;
const PASSWORD = 'CANARYxPW/42+x=';
const TOKEN = 'CANARYxTOKENx4711';
const SECRETS = [PASSWORD, TOKEN];
const manifest = Buffer.from(`{"schemaVersion":2,"mediaType":"${OCI_MANIFEST}","layers":[]}`);
const blob = Buffer.from('the bytes of a layer, a few of them');
const manifestDigest = digestOf(manifest);
const descriptor = { mediaType: 'application/octet-stream', digest: digestOf(blob), size: blob.byteLength };

const LIMITS: UpstreamLimits = {
  manifestBytes: 64 * 1024,
  redirects: 3,
  attempts: 1,
  retryAfterMaxMs: 0,
  connectTimeoutMs: 500,
  headersTimeoutMs: 300,
  bodyTimeoutMs: 300,
  stalls: 1,
};

/** Loopback in every spelling, and other private places, which are never dialled. */
const PRIVATE_HOSTS = [
  ...'127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 127.0.0.1. 0.0.0.0 0'.split(' '),
  ...'[::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:0001] [::127.0.0.1] [64:ff9b::7f00:1]'.split(
    ' ',
  ),
  ...'[64:ff9b:1::7f00:1] [2002:7f00:1::] [fe80::1] [fc00::1] [fd00:ec2::254] [ff02::1] [2001:db8::1]'.split(' '),
  ...'10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1 255.255.255.255 192.0.2.1'.split(' '),
  ...'localhost LOCALHOST localhost. private.example.test several.example.test mapped.example.test'.split(' '),
  ...'１２７.0.0.1 127。0。0。1 %31%32%37.0.0.1 ①②⑦.0.0.1 nowhere.example.test'.split(' '),
];
const NAMES: Readonly<Record<string, readonly string[]>> = {
  'registry.example.test': ['127.0.0.1'],
  'storage.example.test': ['127.0.0.1'],
  'auth.example.test': ['127.0.0.1'],
  localhost: ['127.0.0.1', '::1'],
  'private.example.test': ['127.0.0.1'],
  'several.example.test': ['10.0.0.1', '127.0.0.1', '169.254.169.254'],
  'mapped.example.test': ['::ffff:127.0.0.1', '64:ff9b::7f00:1'],
};
const lookup: LookupFunction = (host, options, callback) => {
  const addresses = (NAMES[host] ?? []).map((address) => ({ address, family: isIP(address) }));
  const [first] = addresses;
  if (first === undefined) callback(Object.assign(new Error(`no ${host}`), { code: 'ENOTFOUND' }), []);
  else if (options.all === true) callback(null, addresses);
  else callback(null, first.address, first.family);
};

/** A server of raw bytes that keeps all that it is sent. */
interface RawServer extends Disposable {
  readonly port: number;
  readonly received: string[];
}

async function rawServer(answer: (request: string, socket: Socket) => void): Promise<RawServer> {
  const sockets = new Set<Socket>();
  const received: string[] = [];
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    let text = '';
    const index = received.push('') - 1;
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      received[index] = `${received[index] ?? ''}${chunk.toString('latin1')}`;
      const end = text.indexOf('\r\n\r\n');
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1] ?? '0');
      if (end < 0 || text.length < end + 4 + length) return;
      const request = text;
      text = '';
      answer(request, socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    received,
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** One answer of the registry, as the case has it. */
interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly ending: 'whole' | 'cut' | 'reset' | 'more' | 'chunked' | 'no HTTP';
}

function send(socket: Socket, { status, headers, body, ending }: Reply, isHead: boolean): void {
  if (ending === 'no HTTP') {
    socket.end(`CANARY ${PASSWORD}\r\n${TOKEN}\r\n\r\n`);
    return;
  }
  const length = ending === 'chunked' ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(body.length) };
  const lines = Object.entries({ ...length, ...headers }).map(([name, value]) => `${name}: ${withPorts(value)}\r\n`);
  socket.write(Buffer.from(`HTTP/1.1 ${status} ${PASSWORD.slice(0, 12)}\r\n${lines.join('')}\r\n`, 'latin1'));
  if (isHead) return;
  if (ending === 'chunked')
    socket.write(`${body.length.toString(16)}\r\n${body.toString('latin1')}\r\nnonsense ${TOKEN}\r\n`, 'latin1');
  else if (ending === 'more' || ending === 'whole') {
    const bytes = ending === 'more' ? Buffer.concat([body, Buffer.from(PASSWORD)]) : body;
    // Where the length is wrong nobody waits for the rest.
    socket[headers['content-length'] === undefined ? 'write' : 'end'](bytes);
  } else {
    socket.write(body.subarray(0, body.length >> 1));
    if (ending === 'reset') socket.resetAndDestroy();
    else socket.end();
  }
}

let folder = '';
let dockerConfigPath = '';
let replies: readonly Reply[] = [];
let asked = 0;
let registry: RawServer;
let storage: RawServer;
let auth: RawServer;
/** Nobody may come here. */
let tripwire: RawServer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-hostile-'));
  dockerConfigPath = join(folder, 'config.json');
  await writeFile(
    dockerConfigPath,
    JSON.stringify({ auths: { 'registry.example.test': { username: 'bob', password: PASSWORD } } }),
  );
  const next = (request: string, socket: Socket): void => {
    const reply = replies[asked++ % replies.length]!;
    send(socket, reply, request.startsWith('HEAD'));
  };
  registry = await rawServer(next);
  storage = await rawServer(next);
  auth = await rawServer((_, socket) => {
    const body = Buffer.from(JSON.stringify({ token: TOKEN, expires_in: 300 }));
    send(socket, { status: 200, headers: {}, body, ending: 'whole' }, false);
  });
  tripwire = await rawServer((_, socket) => socket.destroy());
});
after(async () => {
  for (const server of [registry, storage, auth, tripwire]) server[Symbol.dispose]();
  await rm(folder, { recursive: true });
});

/** Stand for the ports of the servers, which are known later. */
const PORTS = { OWN: () => registry, TRIPWIRE: () => tripwire, STORAGE: () => storage, AUTH: () => auth } as const;
const withPorts = (text: string): string =>
  Object.entries(PORTS).reduce((left, [name, server]) => left.replaceAll(`<${name}>`, String(server().port)), text);

/** Whatever a registry may name: itself, what is allowed, and what is not. */
const addresses = fc
  .record({
    scheme: fc.constantFrom('http:', 'https:', 'HTTP:', 'ftp:', 'file:', 'data:', ''),
    user: fc.constantFrom('', '', '', 'bob:x@', `${encodeURIComponent(PASSWORD)}@`),
    host: fc.oneof(
      fc.constantFrom(...PRIVATE_HOSTS),
      fc.constantFrom(
        'registry.example.test',
        'storage.example.test',
        'auth.example.test',
        'evil.registry.example.test',
      ),
    ),
    port: fc.constantFrom(':<OWN>', ':<TRIPWIRE>', ':<STORAGE>', ':<AUTH>', ''),
    path: fc.constantFrom(
      '',
      '/',
      '/v2/team/app/blobs/x',
      '/token',
      `/${encodeURIComponent(TOKEN)}`,
      '/%2e%2e/..//x',
      '\\x',
    ),
    search: fc.constantFrom('', `?sig=${encodeURIComponent(PASSWORD)}`, '?a=b'),
  })
  .map(({ scheme, user, host, port, path, search }) => `${scheme}//${user}${host}${port}${path}${search}`);
const locations = fc.oneof(
  addresses,
  fc.constantFrom('', '/', '//', '?', '../x', 'https://', 'http://[', `/v2/${TOKEN}`, '\u0001', 'javascript:x'),
  // What works.
  fc.constant('http://storage.example.test:<STORAGE>/x'),
);
const challenges = fc.oneof(
  fc
    .tuple(
      addresses,
      fc.constantFrom('"', '', "'"),
      fc.constantFrom('', ',service="x"', `,scope="repository:${PASSWORD}:pull"`),
    )
    .map(([realm, quote, more]) => `Bearer realm=${quote}${realm}${quote}${more}`),
  fc.constantFrom(
    'Basic realm="x"',
    'basic',
    'Bearer',
    'Negotiate',
    'Bearer realm=',
    `${PASSWORD} x`,
    ', , Basic',
    'Digest realm="x", Basic',
  ),
  fc.constant('Bearer realm="http://auth.example.test:<AUTH>/token",service="x"'),
);
const words = fc.constantFrom(
  ...SECRETS.flatMap((secret) => [...formsOf(secret).slice(0, 3), Buffer.from(`bob:${secret}`).toString('base64')]),
);
const bodies = fc.oneof(
  fc.constantFrom(manifest, blob, Buffer.alloc(0), gzipSync(manifest), gzipSync(blob), Buffer.concat([blob, blob])),
  words.map((said) => Buffer.from(JSON.stringify({ errors: [{ code: said, message: `no: ${said}` }], token: said }))),
  words.map((said) => Buffer.from(`<html>${said}</html>`)),
);
const anyReply = fc
  .record({
    status: fc.constantFrom(
      200,
      200,
      200,
      200,
      204,
      206,
      301,
      302,
      303,
      307,
      307,
      308,
      400,
      401,
      401,
      401,
      403,
      404,
      406,
      416,
      429,
      500,
      503,
    ),
    location: fc.option(locations),
    challenge: fc.option(challenges),
    length: fc.constantFrom(undefined, undefined, undefined, '0', '7', '99999999999', '-1', 'x'),
    digest: fc.constantFrom(undefined, manifestDigest, descriptor.digest, `sha256:${PASSWORD}`),
    type: fc.constantFrom(OCI_MANIFEST, OCI_MANIFEST, 'text/html', `application/${PASSWORD}`, ''),
    encoding: fc.constantFrom(undefined, undefined, undefined, 'gzip', 'identity', TOKEN),
    retry: fc.constantFrom(undefined, '0', '99999', 'x'),
    body: bodies,
    ending: fc.constantFrom('whole', 'whole', 'whole', 'whole', 'cut', 'reset', 'more', 'chunked', 'no HTTP'),
  })
  .map(({ status, location, challenge, length, digest, type, encoding, retry, body, ending }): Reply => {
    const redirects = status > 300 && status < 309;
    const optional = {
      location: redirects ? (location ?? undefined) : undefined,
      'www-authenticate': status === 401 ? (challenge ?? undefined) : undefined,
      'content-length': ending === 'chunked' ? undefined : length,
      'docker-content-digest': digest,
      'content-encoding': encoding,
      'retry-after': retry,
    };
    const given = Object.entries(optional).filter((one): one is [string, string] => one[1] !== undefined);
    return {
      status,
      headers: { 'content-type': type, ...Object.fromEntries(given) },
      body,
      ending: ending,
    };
  });
const scenarios = fc.array(anyReply, { minLength: 1, maxLength: 6 });

function settings(): RegistrySettings {
  return {
    name: 'registry.example.test',
    endpoint: new URL(`http://registry.example.test:${registry.port}`),
    endpointMayBePrivate: true,
    mirrors: [],
    isPublic: false,
    credentials: { kind: 'docker' },
    realms: [`http://auth.example.test:${auth.port}`],
    redirects: [`http://storage.example.test:${storage.port}`],
    passRedirects: ['*.example.test'],
    allow: [],
    platforms: [],
    maxConnections: 4,
  };
}

async function readBlob(upstream: Upstream, signal: AbortSignal): Promise<void> {
  let bytes = 0;
  for await (const chunk of await upstream.openBlob(descriptor, 0, signal)) bytes += chunk.byteLength;
  assert.ok(bytes <= descriptor.size, `${bytes} bytes of ${descriptor.size} were given out`);
}

/** An ask that does not end, although its signal fired. */
async function endsInTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('it goes on after its signal')), 6_000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Everything that a pull asks. Each gives what it promises, or a CacheError that holds no secret. */
const ASKS: readonly ((upstream: Upstream, signal: AbortSignal) => Promise<unknown>)[] = [
  (upstream, signal) => upstream.resolve(parseReference('registry.example.test/team/app:v1'), signal),
  async (upstream, signal) => {
    const { bytes, descriptor: found } = await upstream.readManifest(manifestDigest, signal);
    assert.equal(digestOf(bytes), manifestDigest);
    return found;
  },
  (upstream, signal) => upstream.hasBlob(descriptor, signal),
  readBlob,
  async (upstream, signal) => {
    const url = await upstream.findRedirect(descriptor.digest, signal);
    assert.equal(url, undefined, 'all hosts here are private');
  },
  (upstream, signal) => upstream.listTags(signal).then(() => undefined),
  (upstream, signal) => upstream.listReferrers(manifestDigest, signal).then(() => undefined),
];

test('a registry that answers whatever it likes gets no secret anywhere, and reaches nothing', async () => {
  const upstreams = createUpstreams({
    registries: new Map([['registry.example.test', settings()]]),
    limits: LIMITS,
    lookup,
    dockerConfigPath,
  });
  after(() => upstreams.close());
  // From here on the token is known, too.
  const challenge = 'Bearer realm="http://auth.example.test:<AUTH>/token",service="x"';
  const unauthorised = {
    status: 401,
    headers: { 'www-authenticate': challenge },
    body: manifest,
    ending: 'whole',
  } as const;
  replies = [unauthorised, { status: 200, headers: { 'content-type': OCI_MANIFEST }, body: manifest, ending: 'whole' }];
  const first = await upstreams.open({ registry: 'registry.example.test', path: 'team/app' });
  await first.readManifest(manifestDigest, AbortSignal.timeout(5_000));
  assert.equal(auth.received.length, 1);

  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      replies = scenario;
      const upstream = await upstreams.open({ registry: 'registry.example.test', path: 'team/app' });
      for (const ask of ASKS) {
        asked = 0;
        const answer = await endsInTime(ask(upstream, AbortSignal.timeout(3_000))).catch((error: unknown) => {
          if (!(error instanceof CacheError)) throw error;
          const canary = canaryIn(SECRETS, textOfError(error));
          assert.equal(canary, undefined, `the error holds ${String(canary)}: ${textOfError(error)}`);
        });
        const canary = canaryIn(SECRETS, JSON.stringify(answer ?? null));
        assert.equal(canary, undefined, `the answer holds ${String(canary)}`);
      }
      assert.deepEqual(tripwire.received, [], 'a host that the configuration does not allow was dialled');
      // Of what the registry itself put into the address it may hear, but of nothing that we hold.
      const headers = storage.received.map((text) => text.replace(/^\S+ \S+/gm, ''));
      assert.equal(canaryIn(SECRETS, headers.join('\n')), undefined, 'a secret was sent where the registry redirects');
      assert.ok(!/\nauthorization:/i.test(headers.join('\n')));
      storage.received.length = 0;
      registry.received.length = 0;
    }),
    { numRuns: CASES, endOnFailure: true },
  );
});
