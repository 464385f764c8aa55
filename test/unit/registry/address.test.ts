import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfiguredHosts, HostRules, isPublicAddress } from '../../../lib/registry/address.ts';

const refused = {
  unspecified: ['0.0.0.0', '0.1.2.3', '::'],
  loopback: ['127.0.0.1', '127.255.255.254', '::1'],
  private: ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
  'link-local, cloud metadata': ['169.254.169.254', 'fe80::1'],
  CGNAT: ['100.64.0.1', '100.127.255.255'],
  'v4-mapped': ['::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:8.8.8.8', '::ffff:7f00:1'],
  'v4-compatible': ['::127.0.0.1', '::7f00:1'],
  NAT64: ['64:ff9b::7f00:1', '64:ff9b::8.8.8.8', '64:ff9b:1::1'],
  '6to4 and Teredo': ['2002:7f00:1::1', '2001::1'],
  'unique-local': ['fc00::1', 'fd12:3456::1', 'fd00:ec2::254'],
  'site-local': ['fec0::1'],
  multicast: ['224.0.0.1', 'ff02::1'],
  'benchmarking and documentation': ['198.18.0.1', '192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1'],
  'reserved and broadcast': ['240.0.0.1', '255.255.255.255', '192.0.0.8', '100::1'],
  'no address': ['', 'localhost', '1.2.3.4.5'],
};

for (const [name, addresses] of Object.entries(refused)) {
  test(`address: ${name} is not public`, () => {
    for (const address of addresses) assert.equal(isPublicAddress(address), false, address);
  });
}

test('address: the internet is public', () => {
  for (const address of ['8.8.8.8', '172.15.0.1', '172.32.0.1', '100.63.0.1', '100.128.0.1', '2606:4700::1111']) {
    assert.equal(isPublicAddress(address), true, address);
  }
});

const url = (text: string): URL => new URL(text);

test('host rules: a host is named for https, at any port unless the entry has one', () => {
  const rules = new HostRules(['cdn.example.test', 'store.example.test:8443', '10.1.2.3', '[fd00::1]:9000']);
  assert.ok(rules.names(url('https://cdn.example.test/x')));
  assert.ok(rules.names(url('https://CDN.example.test:9443/x')));
  assert.ok(!rules.names(url('http://cdn.example.test/x')));
  assert.ok(!rules.names(url('https://evil.cdn.example.test/x')));
  assert.ok(!rules.names(url('https://cdn.example.test.evil.test/x')));
  assert.ok(rules.names(url('https://store.example.test:8443/x')));
  assert.ok(!rules.names(url('https://store.example.test/x')));
  assert.ok(rules.names(url('https://10.1.2.3/x')));
  assert.ok(rules.names(url('https://[fd00::1]:9000/x')));
});

test('host rules: plain HTTP only where the entry says it', () => {
  const rules = new HostRules(['http://minio.example.test:9000']);
  assert.ok(rules.names(url('http://minio.example.test:9000/x')));
  assert.ok(!rules.names(url('https://minio.example.test:9000/x')));
  assert.ok(!rules.names(url('http://minio.example.test/x')));
  assert.ok(new HostRules(['auth.example.test']).names(url('http://auth.example.test/'), true));
});

test('host rules: a range covers its addresses, of its own family', () => {
  const rules = new HostRules(['10.0.0.0/8', 'fd00::/8', 'not an entry']);
  assert.ok(rules.covers('10.200.0.1'));
  assert.ok(rules.covers('fd12::1'));
  assert.ok(!rules.covers('11.0.0.1'));
  assert.ok(!rules.covers('::ffff:10.0.0.1'));
  assert.ok(rules.names(url('https://10.3.4.5/')));
  assert.ok(!rules.names(url('http://10.3.4.5/')));
});

test('configured hosts: another port of the endpoint is another place', () => {
  const hosts = new ConfiguredHosts({
    endpoint: url('http://127.0.0.1:5100'),
    endpointMayBePrivate: true,
    mirrors: [url('https://mirror.example.test')],
    redirects: [],
  });
  assert.equal(hosts.reachOf(url('http://127.0.0.1:5100/x')), 'configured');
  assert.equal(hosts.reachOf(url('https://mirror.example.test/x')), 'configured');
  assert.equal(hosts.reachOf(url('http://127.0.0.1:5101/x')), 'public');
  assert.equal(hosts.reachOf(url('https://127.0.0.1:5100/x')), 'public');
});

test('configured hosts: an endpoint that was not written must be public, mirrors need not; a rule of redirects opens it, too', () => {
  const settings = {
    endpoint: url('https://registry.example.test'),
    endpointMayBePrivate: false,
    mirrors: [url('https://mirror.example.test')],
    redirects: [] as string[],
  };
  const hosts = new ConfiguredHosts(settings);
  assert.ok(hosts.isOrigin(url('https://registry.example.test/x')));
  assert.equal(hosts.reachOf(url('https://registry.example.test/x')), 'public');
  assert.equal(hosts.reachOf(url('https://mirror.example.test/x')), 'configured');
  assert.equal(
    hosts.permissionFor('registry.example.test'),
    'write "endpoint: https://registry.example.test" for the registry (http:// if it speaks plain HTTP)',
  );
  assert.match(hosts.permissionFor('cdn.example.test'), /^add "cdn.example.test" or its range to "redirects"/);
  const named = new ConfiguredHosts({ ...settings, redirects: ['registry.example.test'] });
  assert.equal(named.reachOf(url('https://registry.example.test/x')), 'configured');
  const written = new ConfiguredHosts({ ...settings, endpointMayBePrivate: true });
  assert.match(written.permissionFor('registry.example.test'), /"redirects"/);
});
