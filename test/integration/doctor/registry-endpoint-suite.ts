import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { runDoctor } from '../../../lib/cli/doctor.ts';
import { outputOn } from '../../../lib/cli/output.ts';
import { SkipError } from '../../../lib/doctor/check.ts';
import { CHECK_GROUPS } from '../../../lib/doctor/doctor.ts';
import { captured } from '../../support/entrepot.ts';
import { type FaultAnswer, type FaultRequest, startFaultProxy } from '../../support/http-fault-proxy.ts';
import { errors, INDEX, type Lie, type LyingDoor, NAME, OURS, REGISTRY_IDS, TAG } from './registry-bench.ts';

/*
 * The real registry endpoint behind a door that lies: every check holds without the lie, and none with it.
 */

const forever = new AbortController().signal;
/** @param benchOf once it is there */
export function registryDoorTests(benchOf: () => LyingDoor): void {
  let bench: LyingDoor;
  before(() => {
    bench = benchOf();
  });

  test('all checks of the registry endpoint hold where nobody lies', async () => {
    for (const id of REGISTRY_IDS) assert.ok((await bench.look(id)) !== '', id);
  });

  test('the challenge arrives by its own name, once', async () => {
    const id = 'registry-challenge';
    const challenge = 'Basic realm="entrepot"';
    const lie = (headers: Lie['headers'], status = 401): Lie => ({
      path: /^\/v2\/$/,
      status,
      headers: { ...OURS, ...headers },
    });
    assert.match(await bench.look(id), /^401, WWW-Authenticate: Basic realm="entrepot"/);
    await bench.contradicted(
      id,
      lie({ 'x-amzn-remapped-www-authenticate': challenge }),
      /x-amzn-remapped-www-authenticate/,
    );
    await bench.contradicted(id, lie({}), /WWW-Authenticate: $/);
    await bench.contradicted(id, lie({ 'www-authenticate': 'Bearer realm="https://x.example.test"' }), /Bearer/);
    await bench.contradicted(id, lie({ 'www-authenticate': [challenge, challenge] }), / and /);
    await bench.contradicted(id, lie({ 'www-authenticate': challenge }, 403), /403; expected 401/);
  });

  test('a password that was minted is taken', async () => {
    const id = 'registry-login';
    await bench.contradicted(
      id,
      { path: /^\/v2\/$/, status: 401, headers: OURS, body: errors('UNAUTHORIZED') },
      /401 UNAUTHORIZED/,
    );
    await bench.contradicted(id, { path: /^\/v2\/$/, body: '{}' }, /200, not by the function/);
  });

  test('every method is refused by the function itself', async () => {
    const id = 'registry-methods';
    const allow = { allow: 'GET, HEAD' };
    await bench.contradicted(
      id,
      { method: 'PUT', status: 201, headers: { ...OURS, ...allow } },
      /PUT: 201; expected 405/,
    );
    await bench.contradicted(id, { method: 'POST', status: 405, headers: allow }, /POST: 405, not by the function/);
    await bench.contradicted(id, { method: 'OPTIONS', status: 405, headers: OURS }, /OPTIONS: 405 with Allow: none/);
  });

  test('odd paths are resolved by nobody', async () => {
    const id = 'registry-odd-paths';
    const manifest = await bench.real('GET', `/v2/${NAME}/manifests/${TAG}`);
    for (const path of [
      /\/\/team/,
      /^\/v2\/\/sample/,
      /doctor\/\.\.\//,
      /%2e%2e/,
      /%2F\.\.%2F/,
      /\/\.\//,
      /%3F/,
      /%23/,
      /%00/,
    ]) {
      await bench.contradicted(id, { path, ...manifest }, /GET \/v2\/.*: 200; expected 400 or 404/);
    }
    await bench.contradicted(id, { path: /\/\.\.\//, status: 502 }, /502, not by the function/);
    await bench.contradicted(id, { path: /^\/v2\/\.\.\/v1/, body: '{"bucket":"b"}' }, /v1\/deployment: 200/);
    // Whoever refuses it first is right.
    assert.match(
      await bench.look(id, [{ path: /\.\./, status: 400, body: 'Bad Request' }]),
      /\.\. 400 not by the function, %2e%2e 400, /,
    );
    // That nothing is to be had is no evidence.
    await bench.contradicted(
      id,
      { path: /manifests/, status: 404, headers: OURS, body: errors('NAME_UNKNOWN') },
      /404 NAME_UNKNOWN$/,
    );
  });

  test('a path is decoded once at most', async () => {
    const id = 'registry-encoded-path';
    const manifest = await bench.real('GET', `/v2/${NAME}/manifests/${TAG}`);
    const other = {
      ...manifest,
      headers: { ...manifest.headers, 'docker-content-digest': `sha256:${'0'.repeat(64)}` },
    };
    const refused = { status: 400, headers: OURS, body: errors('NAME_INVALID') };
    assert.equal(await bench.look(id), 'paths arrive decoded once');
    assert.match(
      await bench.look(id, [{ path: /test%2Fteam/, ...refused }]),
      /as they are sent: "%2F" is 400 NAME_INVALID/,
    );
    await bench.contradicted(id, { path: /%252F/, ...manifest }, /%252F.*: 200; expected 400 or 404/);
    await bench.contradicted(id, { path: /%252F/, ...other }, /%252F/);
    await bench.contradicted(id, { path: /test%2Fteam/, ...other }, /%2F.*: 200/);
    await bench.contradicted(id, { path: /%3A/, ...refused }, /%3A.*: 400 NAME_INVALID/);
    await bench.contradicted(id, { path: /%3A/, ...other }, /"%3A" in the digest/);
  });

  test('the query arrives', async () => {
    const id = 'registry-query';
    const manifest = await bench.real('GET', `/v2/${NAME}/manifests/${TAG}`);
    const unknown = { status: 404, headers: OURS, body: errors('NAME_UNKNOWN') };
    const other = {
      ...manifest,
      headers: { ...manifest.headers, 'docker-content-digest': `sha256:${'0'.repeat(64)}` },
    };
    await bench.contradicted(id, { path: /\?ns=/, ...unknown }, /ns=sample.example.test: 404 NAME_UNKNOWN/);
    await bench.contradicted(id, { path: /\?ns=%73/, ...unknown }, /ns=%73ample.example.test: 404/);
    await bench.contradicted(id, { path: /\?ns=/, ...other }, /expected sha256:/);
    // As a load balancer without lists does it: the last one counts.
    await bench.contradicted(id, { path: /&ns=/, ...manifest }, /"ns" given twice: 200; expected 400/);
  });

  test('what is not there is asked of its registry', async () => {
    const id = 'registry-fetch';
    const path = new RegExp(`/manifests/sha256:(?!${INDEX.slice(7)})`);
    await bench.contradicted(
      id,
      { path, status: 502, headers: OURS, body: errors('UNKNOWN') },
      /502 UNKNOWN after \d+ ms/,
    );
    await bench.contradicted(id, { path, status: 404, body: errors('MANIFEST_UNKNOWN') }, /not by the function/);
    const asked = bench.sample.requests.length;
    await bench.look(id);
    assert.ok(bench.sample.requests.slice(asked).some(({ path: wanted }) => wanted.includes('/manifests/sha256:')));
  });

  test('whoever cannot be reached is waited for once', async () => {
    const closed = await startFaultProxy(bench.application.origin);
    await closed.close();
    const fixture = bench.fixture({ ...bench.target, registryUrl: closed.endpoint });
    await assert.rejects(fixture.askAnonymously({ path: '/v2/' }, forever), /ECONNREFUSED/);
    await assert.rejects(fixture.ask({ path: '/v2/' }, forever), SkipError);
  });

  test('no password, and no signed URL, is printed, whatever is answered', async () => {
    const { door, application, target } = bench;
    const { registryUrl = '', image = '' } = target;
    const options = { url: application.origin, registryUrl, image };
    const groups = CHECK_GROUPS.filter(({ checks }) => checks.some(({ id }) => REGISTRY_IDS.includes(id)));
    const location = 'https://evil.example.test/x?X-Amz-Credential=c&X-Amz-Security-Token=t&X-Amz-Signature=s';
    /** An endpoint that repeats what it is asked with, in whatever it says. */
    const echo = ({ headers }: FaultRequest): FaultAnswer => ({
      status: 418,
      headers: { ...OURS },
      body: JSON.stringify({ errors: [{ code: headers.authorization, message: headers.authorization }], location }),
    });
    const echoInHeaders = ({ headers: { authorization = '' } }: FaultRequest): FaultAnswer => ({
      status: 200,
      headers: {
        ...OURS,
        'content-type': authorization,
        etag: authorization.slice(6),
        'docker-content-digest': plain(authorization),
      },
    });
    const plain = (authorization: string): string => Buffer.from(authorization.slice(6), 'base64').toString('utf8');
    const redirect = { status: 307, headers: { ...OURS, location } };
    for (const [rules, isJson] of [
      [[], false],
      [[{ times: Infinity, action: { kind: 'answer', answer: echo } }], false],
      [[{ times: Infinity, action: { kind: 'answer', answer: echo } }], true],
      [[{ times: Infinity, action: { kind: 'answer', answer: echoInHeaders } }], false],
      [[{ path: /blobs/, times: Infinity, action: { kind: 'answer', answer: redirect } }], true],
    ] as const) {
      door.rules.splice(0, Infinity, ...rules);
      door.log.length = 0;
      const { stdout, stderr } = await captured(application.environment, (streams) =>
        runDoctor(options, outputOn(streams, isJson), forever, groups),
      );
      const said = stdout + stderr;
      const logins = new Set(door.log.flatMap(({ headers }) => headers.authorization ?? []));
      assert.ok(logins.size >= 1, 'a login was used');
      assert.match(said, rules.length === 0 ? / 0 fail/ : /registry-blob-redirect/);
      for (const login of logins) {
        const encoded = login.replace(/^Basic /, '');
        const password = Buffer.from(encoded, 'base64')
          .toString('utf8')
          .replace(/^token:/, '');
        assert.ok(password.length > 40 && !said.includes(password) && !said.includes(encoded));
      }
      assert.doesNotMatch(said, /X-Amz-|Signature=/);
    }
  });
}
