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
    async run(scene, signal) {
      const key = scene.key('if-none-match');
      await scene.put(key, 'first', { IfNoneMatch: '*' }, signal);
      const told = await mustRefuse('the second PUT', [412], () =>
        scene.put(key, 'second', { IfNoneMatch: '*' }, signal),
      );
      must((await scene.text(key, signal)) === 'first', `${told}, but the object was overwritten`);
      return told;
    },
  },
  {
    id: 's3-one-winner',
    claim: 'of PUTs with If-None-Match: * at the same time exactly one succeeds; the others get 412 or 409',
    async run(scene, signal) {
      const key = scene.key('race');
      const refusals = await Promise.all(
        Array.from({ length: RACERS }, (_, racer) =>
          refusalOf(() => scene.put(key, `racer ${racer}`, { IfNoneMatch: '*' }, signal)),
        ),
      );
      const winners = [...refusals.keys()].filter((racer) => refusals[racer] === undefined);
      const statuses = refusals.map((refusal) => refusal?.status ?? 200).join(', ');
      must(winners.length === 1, `${winners.length} of ${RACERS} succeeded: ${statuses}`);
      must(
        refusals.every((refusal) => refusal === undefined || [409, 412].includes(refusal.status)),
        `losers were answered ${statuses}`,
      );
      const kept = await scene.text(key, signal);
      must(kept === `racer ${winners[0]}`, `racer ${winners[0]} was told that it won, and "${kept}" is there`);
      return statuses;
    },
  },
  {
    id: 's3-put-sha256',
    claim: 'PUT with a wrong x-amz-checksum-sha256 is refused and stores nothing; a right one is kept',
    async run(scene, signal) {
      const key = scene.key('sha256');
      const told = await mustRefuse('a wrong checksum', ['BadDigest'], () =>
        scene.put(key, 'content', { ChecksumSHA256: sha256Of('other content') }, signal),
      );
      must(!(await scene.isThere(key, signal)), `${told}, but something was stored`);
      await scene.put(key, 'content', { ChecksumSHA256: sha256Of('content') }, signal);
      const { ChecksumSHA256: kept } = await scene.head(key, signal);
      must(kept === sha256Of('content'), `HEAD tells the checksum ${kept ?? 'none'}`);
      return told;
    },
  },
  {
    id: 's3-signed-payload',
    claim: 'a body that is not the one whose SHA-256 was signed is refused',
    async run(scene, signal) {
      const key = scene.key('payload');
      const other = hexOf(digestOf(Buffer.from('other content')));
      const command = new PutObjectCommand({ Bucket: scene.bucket, Key: key, Body: 'content' });
      const told = await mustRefuse('another body', ['XAmzContentSHA256Mismatch'], () =>
        scene.client.send(withPayloadHash(command, other), { abortSignal: signal }),
      );
      must(!(await scene.isThere(key, signal)), `${told}, but something was stored`);
      return told;
    },
  },
  {
    id: 's3-metadata',
    claim: 'HEAD gives back the metadata that came with the PUT',
    async run(scene, signal) {
      const key = scene.key('metadata');
      const domain = 'registry.example.test#0123456789abcdef';
      await scene.put(key, 'content', { Metadata: { domain } }, signal);
      const { Metadata: metadata } = await scene.head(key, signal);
      must(metadata?.domain === domain, `HEAD tells the metadata ${JSON.stringify(metadata ?? {})}`);
      return JSON.stringify(metadata);
    },
  },
  {
    id: 's3-read-after-write',
    claim: 'what was written or deleted is seen at once, by HEAD and in lists',
    async run(scene, signal) {
      for (let look = 1; look <= LOOKS; look++) {
        const key = scene.key(`consistent/${look}`);
        await scene.put(key, 'content', {}, signal);
        must(await scene.isThere(key, signal), `HEAD ${look}: not there right after the PUT`);
        const list = new ListObjectsV2Command({ Bucket: scene.bucket, Prefix: key });
        const { KeyCount: listed } = await scene.client.send(list, { abortSignal: signal });
        must(listed === 1, `list ${look}: not there right after the PUT`);
        await scene.client.send(new DeleteObjectCommand({ Bucket: scene.bucket, Key: key }), { abortSignal: signal });
        must(!(await scene.isThere(key, signal)), `HEAD ${look}: still there right after the DELETE`);
      }
      return `${LOOKS} times of ${LOOKS}`;
    },
  },
  {
    id: 's3-head-missing',
    claim: 'HEAD of a missing key is 404 for whoever may list the bucket',
    run: (scene, signal) => mustRefuse('HEAD', [404], () => scene.head(scene.key('missing'), signal)),
  },
  {
    id: 's3-get-if-match',
    claim: 'GET with the ETag of something else is refused',
    async run(scene, signal) {
      const key = scene.key('get-if-match');
      const etag = await scene.put(key, 'content', {}, signal);
      must((await scene.text(key, signal, etag)) === 'content', 'GET with the right ETag gave something else');
      return await mustRefuse('GET with another ETag', [412], () => scene.text(key, signal, NO_ETAG));
    },
  },
  {
    id: 's3-put-if-match',
    claim: 'PUT with If-Match overwrites only what was seen; 404 where nothing is',
    async run(scene, signal) {
      const key = scene.key('put-if-match');
      const etag = await scene.put(key, 'first', {}, signal);
      const other = await mustRefuse('another ETag', [412], () => scene.put(key, 'lost', { IfMatch: NO_ETAG }, signal));
      await scene.put(key, 'second', { IfMatch: etag }, signal);
      const kept = await scene.text(key, signal);
      must(kept === 'second', `after PUTs with a wrong and a right ETag "${kept}" is there`);
      const gone = await mustRefuse('a missing key', [404], () =>
        scene.put(scene.key('put-if-match-missing'), 'lost', { IfMatch: etag }, signal),
      );
      return `${other}; ${gone}`;
    },
  },
  {
    id: 's3-delete-if-match',
    claim: 'DELETE with If-Match takes away only what was seen',
    async run(scene, signal) {
      const key = scene.key('delete-if-match');
      const etag = await scene.put(key, 'content', {}, signal);
      const remove = (ifMatch: string) =>
        scene.client.send(new DeleteObjectCommand({ Bucket: scene.bucket, Key: key, IfMatch: ifMatch }), {
          abortSignal: signal,
        });
      const told = await mustRefuse('another ETag', [412], () => remove(NO_ETAG));
      must(await scene.isThere(key, signal), `${told}, but the object is gone`);
      await remove(etag);
      must(!(await scene.isThere(key, signal)), 'DELETE with the right ETag was accepted, but the object is there');
      return told;
    },
  },
];
