import { DeleteObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { digestOf, hexOf } from '../oci/digest.ts';
import { sha256Base64 } from '../store/checksums.ts';
import { withPayloadHash } from '../store/s3-client.ts';
import { type Check, must, mustRefuse, refusalOf } from './check.ts';
import type { S3Fixture } from './s3-fixture.ts';

const RACERS = 8;
const LOOKS = 5;
const NO_ETAG = '"00000000000000000000000000000000"';

const sha256Of = (text: string): string => sha256Base64(digestOf(Buffer.from(text)));

/** What single objects must do. */
export const S3_OBJECT_CHECKS: readonly Check<S3Fixture>[] = [
  {
    id: 's3-put-if-none-match',
    claim: 'PUT with If-None-Match: * never overwrites',
    async run(fixture, signal) {
      const key = fixture.key('if-none-match');
      await fixture.put(key, 'first', { IfNoneMatch: '*' }, signal);
      const refusal = await mustRefuse('the second PUT', [412], () =>
        fixture.put(key, 'second', { IfNoneMatch: '*' }, signal),
      );
      must((await fixture.text(key, signal)) === 'first', `${refusal}, but the object was overwritten`);
      return refusal;
    },
  },
  {
    id: 's3-one-winner',
    claim: 'of concurrent PUTs with If-None-Match: * exactly one succeeds; the others get 412 or 409',
    async run(fixture, signal) {
      const key = fixture.key('race');
      const refusals = await Promise.all(
        Array.from({ length: RACERS }, (_, racer) =>
          refusalOf(() => fixture.put(key, `racer ${racer}`, { IfNoneMatch: '*' }, signal)),
        ),
      );
      const winners = [...refusals.keys()].filter((racer) => refusals[racer] === undefined);
      const statuses = refusals.map((refusal) => refusal?.status ?? 200).join(', ');
      must(winners.length === 1, `${winners.length} of ${RACERS} succeeded: ${statuses}`);
      must(
        refusals.every((refusal) => refusal === undefined || [409, 412].includes(refusal.status)),
        `losers were answered ${statuses}`,
      );
      const kept = await fixture.text(key, signal);
      must(kept === `racer ${winners[0]}`, `racer ${winners[0]} got 200, but the content is "${kept}"`);
      return statuses;
    },
  },
  {
    id: 's3-put-sha256',
    claim: 'PUT with a wrong x-amz-checksum-sha256 is refused and stores nothing; a right one is kept',
    async run(fixture, signal) {
      const key = fixture.key('sha256');
      const refusal = await mustRefuse('a wrong checksum', ['BadDigest'], () =>
        fixture.put(key, 'content', { ChecksumSHA256: sha256Of('other content') }, signal),
      );
      must(!(await fixture.isThere(key, signal)), `${refusal}, but something was stored`);
      await fixture.put(key, 'content', { ChecksumSHA256: sha256Of('content') }, signal);
      const { ChecksumSHA256: kept } = await fixture.head(key, signal);
      must(kept === sha256Of('content'), `HEAD returns the checksum ${kept ?? 'none'}`);
      return refusal;
    },
  },
  {
    id: 's3-signed-payload',
    claim: 'a body with another SHA-256 than the signed one is refused',
    async run(fixture, signal) {
      const key = fixture.key('payload');
      const other = hexOf(digestOf(Buffer.from('other content')));
      const command = new PutObjectCommand({ Bucket: fixture.bucket, Key: key, Body: 'content' });
      const refusal = await mustRefuse('another body', ['XAmzContentSHA256Mismatch'], () =>
        fixture.client.send(withPayloadHash(command, other), { abortSignal: signal }),
      );
      must(!(await fixture.isThere(key, signal)), `${refusal}, but something was stored`);
      return refusal;
    },
  },
  {
    id: 's3-metadata',
    claim: 'HEAD returns the metadata of the PUT',
    async run(fixture, signal) {
      const key = fixture.key('metadata');
      const domain = 'registry.example.test#0123456789abcdef';
      await fixture.put(key, 'content', { Metadata: { domain } }, signal);
      const { Metadata: metadata } = await fixture.head(key, signal);
      must(metadata?.domain === domain, `HEAD returns the metadata ${JSON.stringify(metadata ?? {})}`);
      return JSON.stringify(metadata);
    },
  },
  {
    id: 's3-read-after-write',
    claim: 'writes and deletes are visible at once, to HEAD and in lists',
    async run(fixture, signal) {
      for (let look = 1; look <= LOOKS; look++) {
        const key = fixture.key(`consistent/${look}`);
        await fixture.put(key, 'content', {}, signal);
        must(await fixture.isThere(key, signal), `HEAD ${look}: not there right after the PUT`);
        const list = new ListObjectsV2Command({ Bucket: fixture.bucket, Prefix: key });
        const { KeyCount: listed } = await fixture.client.send(list, { abortSignal: signal });
        must(listed === 1, `list ${look}: not there right after the PUT`);
        await fixture.client.send(new DeleteObjectCommand({ Bucket: fixture.bucket, Key: key }), {
          abortSignal: signal,
        });
        must(!(await fixture.isThere(key, signal)), `HEAD ${look}: still there right after the DELETE`);
      }
      return `${LOOKS} times of ${LOOKS}`;
    },
  },
  {
    id: 's3-head-missing',
    claim: 'HEAD of a missing key is 404 for callers that may list the bucket',
    run: (fixture, signal) => mustRefuse('HEAD', [404], () => fixture.head(fixture.key('missing'), signal)),
  },
  {
    id: 's3-get-if-match',
    claim: 'GET with another ETag is refused',
    async run(fixture, signal) {
      const key = fixture.key('get-if-match');
      const etag = await fixture.put(key, 'content', {}, signal);
      must((await fixture.text(key, signal, etag)) === 'content', 'GET with the right ETag gave something else');
      return await mustRefuse('GET with another ETag', [412], () => fixture.text(key, signal, NO_ETAG));
    },
  },
  {
    id: 's3-put-if-match',
    claim: 'PUT with If-Match overwrites only that version; 404 if there is no object',
    async run(fixture, signal) {
      const key = fixture.key('put-if-match');
      const etag = await fixture.put(key, 'first', {}, signal);
      const other = await mustRefuse('another ETag', [412], () =>
        fixture.put(key, 'lost', { IfMatch: NO_ETAG }, signal),
      );
      await fixture.put(key, 'second', { IfMatch: etag }, signal);
      const kept = await fixture.text(key, signal);
      must(kept === 'second', `after PUTs with a wrong and a right ETag "${kept}" is there`);
      const gone = await mustRefuse('a missing key', [404], () =>
        fixture.put(fixture.key('put-if-match-missing'), 'lost', { IfMatch: etag }, signal),
      );
      return `${other}; ${gone}`;
    },
  },
  {
    id: 's3-delete-if-match',
    claim: 'DELETE with If-Match deletes only that version',
    async run(fixture, signal) {
      const key = fixture.key('delete-if-match');
      const etag = await fixture.put(key, 'content', {}, signal);
      const remove = (ifMatch: string) =>
        fixture.client.send(new DeleteObjectCommand({ Bucket: fixture.bucket, Key: key, IfMatch: ifMatch }), {
          abortSignal: signal,
        });
      const refusal = await mustRefuse('another ETag', [412], () => remove(NO_ETAG));
      must(await fixture.isThere(key, signal), `${refusal}, but the object is gone`);
      await remove(etag);
      must(!(await fixture.isThere(key, signal)), 'DELETE with the right ETag was accepted, but the object is there');
      return refusal;
    },
  },
];
