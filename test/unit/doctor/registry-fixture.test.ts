import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ContradictionError, SkipError } from '../../../lib/doctor/check.ts';
import { REGISTRY_CHECKS } from '../../../lib/doctor/registry-checks.ts';
import { openRegistryFixture, type RegistryFixture, answeredStatus } from '../../../lib/doctor/registry-fixture.ts';
import { type BlobPlace, parseBlobUrl, statusOfS3 } from '../../../lib/doctor/s3-blob-url.ts';
import type { HttpCall, Requests } from '../../../lib/doctor/sigv4-requests.ts';
import type { Target } from '../../../lib/doctor/target.ts';
import type { DeploymentDocument } from '../../../lib/http/control/deployment.ts';
import { parseDigest } from '../../../lib/oci/digest.ts';

const API = 'https://abcdefghij.execute-api.eu-central-1.amazonaws.com';
const forever = new AbortController().signal;
const HEX = 'a'.repeat(64);
const DIGEST = parseDigest(`sha256:${HEX}`);

const deployment = (serve: Partial<DeploymentDocument['serve']> = {}): DeploymentDocument => ({
  version: '0.1.0',
  region: 'eu-central-1',
  stage: 'prod',
  bucket: 'bucket',
  table: 'table',
  stateMachine: null,
  bus: null,
  serve: { front: 'httpApi', auth: 'basic', blobEndpoint: null, ...serve },
  caller: 'arn:aws:iam::123456789012:role/ci',
});

/** A target whose control API answers so. */
function target(more: Partial<Target> = {}, status = 200, text = '{}'): Target & { readonly calls: HttpCall[] } {
  const calls: HttpCall[] = [];
  const answer = (call: HttpCall) => {
    calls.push(call);
    return Promise.resolve({ status, text, headers: new Headers(), durationMs: 1 });
  };
  const requests: Requests = { plain: answer, signed: (_service, call) => answer(call) };
  return { url: API, isLocal: false, region: 'eu-central-1', requests, deployment: deployment(), calls, ...more };
}

function opened(one: Target): RegistryFixture {
  const fixture = openRegistryFixture(one);
  assert.ok(!(fixture instanceof SkipError));
  return fixture;
}

const skipped = async (asked: Promise<unknown>, why: RegExp): Promise<void> => {
  await assert.rejects(asked, (error: Error) => {
    assert.ok(error instanceof SkipError, `${error.name}: ${error.message}`);
    assert.match(error.message, why);
    return true;
  });
};

describe('what cannot be looked at says why', () => {
  const why = (more: Partial<Target>): string => {
    const fixture = openRegistryFixture(target(more));
    return fixture instanceof SkipError ? fixture.message : 'can be';
  };
  test('where the endpoint is not known', () => {
    assert.equal(why({}), 'can be');
    assert.match(why({ deployment: new SkipError('GET /v1/deployment answered 403') }), /answered 403/);
    assert.match(why({ deployment: deployment({ front: 'alb' }) }), /serve\.front is alb: give --registry-url/);
    assert.match(why({ url: 'https://cache.example.test/team' }), /--url has a path, .*: give --registry-url/);
    const registryUrl = 'https://cache.example.test';
    assert.equal(why({ deployment: deployment({ front: 'alb' }), registryUrl }), 'can be');
    assert.equal(why({ url: 'https://cache.example.test/team', registryUrl }), 'can be');
  });

  test('where no image was named', async () => {
    const fixture = opened(target());
    assert.throws(() => fixture.image(), SkipError);
    await skipped(fixture.completeManifest(forever), /give --image/);
  });

  test('where nobody is asked for a login', async () => {
    const [challenge] = REGISTRY_CHECKS;
    assert.equal(challenge?.id, 'registry-challenge');
    const fixture = opened(target({ deployment: deployment({ auth: 'none' }) }));
    await skipped(challenge.run(fixture, forever), /serve\.auth is none/);
  });

  test('where no password can be had', async () => {
    const without = opened(target({}, 404, '{"detail":"no secret"}'));
    await skipped(without.newLogin(forever), /404: the deployment has no secret/);
    await skipped(without.ask({ path: '/v2/' }, forever), /404: the deployment has no secret/);
    const refused = target({}, 403, '{"message":"Forbidden"}');
    const fixture = opened(refused);
    await assert.rejects(
      fixture.newLogin(forever),
      (error) => error instanceof ContradictionError && error.message.includes('403'),
    );
    await skipped(fixture.ask({ path: '/v2/' }, forever), /see registry-login/);
    await skipped(fixture.ask({ path: '/v2/' }, forever), /see registry-login/);
    assert.equal(refused.calls.length, 2, 'once for the check itself, once for all others');
  });

  test('where no platform of the image is complete', async () => {
    const platforms = [{ platform: 'linux/amd64', digest: DIGEST, complete: false }];
    const one = target({ image: 'alpine:3.20' }, 200, JSON.stringify({ platforms }));
    await skipped(
      opened(one).completeManifest(forever),
      /no platform of docker\.io\/library\/alpine:3\.20 is complete/,
    );
    assert.equal(one.calls[0]?.url.search, '?reference=docker.io%2Flibrary%2Falpine%3A3.20');
    await skipped(opened(target({ image: 'alpine' }, 404, 'none')).completeManifest(forever), /see pull-workflow/);
  });
});

test('an image is asked for by its tag, or by its digest where that is named', () => {
  const named = (image: string): readonly string[] => {
    const { name, pointer } = opened(target({ image })).image();
    return [name, pointer];
  };
  assert.deepEqual(named('alpine'), ['docker.io/library/alpine', 'latest']);
  assert.deepEqual(named(`ghcr.io/org/app:v1@${DIGEST}`), ['ghcr.io/org/app', DIGEST]);
});

test('a password is minted by the control API, for half an hour, and never shown', async () => {
  const one = target({}, 200, '{"username":"token","password":"secret"}');
  assert.equal(await opened(one).newLogin(forever), `Basic ${Buffer.from('token:secret').toString('base64')}`);
  const [{ method, url, body } = assert.fail()] = one.calls;
  assert.deepEqual([method, url.href, body], ['POST', `${API}/v1/token`, '{"lifetimeSeconds":1800}']);
  for (const [status, text] of [
    [200, '{"username":"token","password":["secret"]}'],
    [201, '{"username":"token","password":"secret"}'],
  ] as const) {
    await assert.rejects(
      opened(target({}, status, text)).newLogin(forever),
      (error: Error) => !error.message.includes('secret'),
    );
  }
});

test('of an answer its status, its code and who gave it are told, and none of its words', () => {
  const answer = (status: number, body: string, headers = {}) =>
    answeredStatus({ status, headers, bytes: Buffer.from(body), durationMs: 1 });
  const ours = { 'docker-distribution-api-version': ['registry/2.0'] };
  assert.equal(answer(404, '{"errors":[{"code":"NAME_UNKNOWN","message":"secret"}]}', ours), '404 NAME_UNKNOWN');
  assert.equal(answer(404, '{"errors":[{"code":"secret of mine"}]}', ours), '404');
  assert.equal(answer(403, '{"message":"Forbidden"}'), '403, not by the function');
  assert.equal(answer(502, '{"errors":[]}'), '502, not by the function');
  const s3 = (body: string) => statusOfS3({ status: 403, headers: {}, bytes: Buffer.from(body), durationMs: 1 });
  assert.equal(s3('<Error><Code>AccessDenied</Code><Message>secret</Message></Error>'), '403 AccessDenied');
  assert.equal(s3('secret'), '403');
});

describe('a redirect leads to the blob where the deployment keeps it', () => {
  const place = (more: Partial<BlobPlace> = {}, serve = {}): BlobPlace => ({
    deployment: deployment(serve),
    region: 'eu-central-1',
    isLocal: false,
    ...more,
  });
  const refused = (location: string | undefined, one: BlobPlace): void => {
    assert.throws(
      () => parseBlobUrl(location, DIGEST, one),
      (error) =>
        error instanceof ContradictionError && !error.message.includes('Signature') && !error.message.includes(HEX),
      location,
    );
  };
  const signed = `blobs/sha256/${HEX}?X-Amz-Signature=0`;

  test("at S3's own address", () => {
    const url = `https://bucket.s3.eu-central-1.amazonaws.com/${signed}`;
    assert.equal(parseBlobUrl(url, DIGEST, place()).href, url);
    refused(url, place({ region: 'us-east-1' }));
    refused(url, place({}, { blobEndpoint: 'https://blobs.example.test' }));
    refused(url, place({ deployment: { ...deployment(), bucket: 'other' } }));
    refused(url.replace('https', 'http'), place());
    refused(url.replace('amazonaws.com', 'amazonaws.com.example.test'), place());
    refused(url.replace(`sha256/${HEX}`, `sha256/${'b'.repeat(64)}`), place());
    refused(url.replace(/\?.*/, ''), place());
    refused(`http://127.0.0.1:9000/bucket/${signed}`, place());
    refused('/v2/again', place());
    refused(undefined, place());
  });

  test('of a bucket with dots, and in China', () => {
    const dotted = place({ deployment: { ...deployment(), bucket: 'my.bucket' } });
    parseBlobUrl(`https://s3.eu-central-1.amazonaws.com/my.bucket/${signed}`, DIGEST, dotted);
    parseBlobUrl(`https://bucket.s3.cn-north-1.amazonaws.com.cn/${signed}`, DIGEST, place({ region: 'cn-north-1' }));
  });

  test('at the address that the configuration names', () => {
    const blobEndpoint = 'https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com';
    parseBlobUrl(`${blobEndpoint}/${signed}`, DIGEST, place({}, { blobEndpoint }));
    const other = 'https://blobs.example.test';
    parseBlobUrl(`${other}/bucket/${signed}`, DIGEST, place({}, { blobEndpoint: other }));
    refused(`${other}:8443/bucket/${signed}`, place({}, { blobEndpoint: other }));
  });

  test('never below the name that clients pull from', () => {
    const blobEndpoint = 'https://blobs.cache.example.test';
    const at = (registryUrl: string): BlobPlace => place({ registryUrl }, { blobEndpoint });
    refused(`${blobEndpoint}/bucket/${signed}`, at('https://cache.example.test'));
    refused(`${blobEndpoint}/bucket/${signed}`, at('https://blobs.cache.example.test:8443'));
    parseBlobUrl(`${blobEndpoint}/bucket/${signed}`, DIGEST, at('https://registry.cache.example.test'));
    parseBlobUrl(`${blobEndpoint}/bucket/${signed}`, DIGEST, at('https://ache.example.test'));
  });

  test('on this machine, wherever the embedded S3 listens', () => {
    parseBlobUrl(`http://127.0.0.1:9000/bucket/${signed}`, DIGEST, place({ isLocal: true }));
    refused(`http://10.0.0.1:9000/bucket/${signed}`, place({ isLocal: true }));
  });
});
