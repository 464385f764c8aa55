import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  ListPartsCommand,
  UploadPartCommand,
  type CompleteMultipartUploadCommandInput,
} from '@aws-sdk/client-s3';
import { digestOf } from '../oci/digest.ts';
import { sha256Base64 } from '../store/checksums.ts';
import { type Check, must, mustRefuse } from './check.ts';
import { crcOf, type OpenUpload, type Part, type S3Fixture } from './s3-fixture.ts';

/** The least of every part but the last: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const LEAST_PART_BYTES = 5 * 1024 * 1024;
const CONTENT = Buffer.from('content of one part');
const WRONG_CRC = crcOf(Buffer.from('other content'));

async function begun(scene: S3Fixture, name: string, signal: AbortSignal, bytes = CONTENT) {
  const key = scene.key(name);
  const upload: OpenUpload = { key, uploadId: await scene.begin(key, 'CRC32', signal) };
  return { upload, part: await scene.part(upload, 1, bytes, signal) };
}

type More = Partial<CompleteMultipartUploadCommandInput>;

/** Complete as the code does it, save for `more`. */
async function complete(
  { client, bucket }: S3Fixture,
  { key, uploadId }: OpenUpload,
  parts: readonly Part[],
  more: More,
  signal: AbortSignal,
): Promise<void> {
  const command = new CompleteMultipartUploadCommand({
    Bucket: bucket,
    Key: key,
    UploadId: uploadId,
    MultipartUpload: { Parts: [...parts] },
    IfNoneMatch: '*',
    ...more,
  });
  await client.send(command, { abortSignal: signal });
}

/** What the bucket's policy must refuse. */
export const completeUnconditionally = (scene: S3Fixture, upload: OpenUpload, part: Part, signal: AbortSignal) =>
  complete(scene, upload, [part], { IfNoneMatch: undefined }, signal);

const listParts = ({ client, bucket }: S3Fixture, { key, uploadId }: OpenUpload, abortSignal: AbortSignal) =>
  client.send(new ListPartsCommand({ Bucket: bucket, Key: key, UploadId: uploadId }), { abortSignal });

/** What multipart uploads must do. */
export const S3_UPLOAD_CHECKS: readonly Check<S3Fixture>[] = [
  {
    id: 's3-upload-invisible',
    claim: 'an open upload shows no object; ListParts tells size, ETag and CRC-32 of its parts',
    async run(scene, signal) {
      const { upload, part } = await begun(scene, 'invisible', signal);
      must(!(await scene.isThere(upload.key, signal)), 'HEAD found an object of an upload that is not complete');
      const [listed] = (await listParts(scene, upload, signal)).Parts ?? [];
      const { Size, ETag, ChecksumCRC32 } = listed ?? {};
      const seen = JSON.stringify({ Size, ETag, ChecksumCRC32 });
      must(Size === CONTENT.byteLength && ETag === part.ETag && ChecksumCRC32 === part.ChecksumCRC32, seen);
      return seen;
    },
  },
  {
    id: 's3-upload-aborted',
    claim: 'an aborted upload is unknown: 404',
    async run(scene, signal) {
      const { upload } = await begun(scene, 'aborted', signal);
      const { key, uploadId } = upload;
      const abort = new AbortMultipartUploadCommand({ Bucket: scene.bucket, Key: key, UploadId: uploadId });
      await scene.client.send(abort, { abortSignal: signal });
      return await mustRefuse('ListParts', [404], () => listParts(scene, upload, signal));
    },
  },
  {
    id: 's3-part-crc32',
    claim: 'an unsigned part with a wrong CRC-32 is refused',
    async run(scene, signal) {
      const { upload } = await begun(scene, 'part-crc32', signal);
      return await mustRefuse('the part', ['BadDigest'], () => scene.part(upload, 2, CONTENT, signal, WRONG_CRC));
    },
  },
  {
    id: 's3-full-object-crc32',
    claim: 'Complete compares the CRC-32 of the whole object with what the parts give, and HEAD tells it',
    async run(scene, signal) {
      const [first, second] = [Buffer.alloc(LEAST_PART_BYTES, 'a'), Buffer.from('the end')];
      const { upload, part } = await begun(scene, 'full-object', signal, first);
      const parts = [part, await scene.part(upload, 2, second, signal)];
      const full = (crc: string): More => ({ ChecksumCRC32: crc, ChecksumType: 'FULL_OBJECT' });
      const told = await mustRefuse('a wrong CRC-32', [400], () =>
        complete(scene, upload, parts, full(WRONG_CRC), signal),
      );
      must(!(await scene.isThere(upload.key, signal)), `${told}, but the object is there`);
      const crc = crcOf(Buffer.concat([first, second]));
      await complete(scene, upload, parts, full(crc), signal);
      const { ChecksumCRC32, ChecksumType, ContentLength } = await scene.head(upload.key, signal);
      const seen = `HEAD: ${ChecksumType ?? 'no type'} ${ChecksumCRC32 ?? 'no CRC-32'}, ${ContentLength ?? 0} bytes`;
      must(ChecksumType === 'FULL_OBJECT' && ChecksumCRC32 === crc, seen);
      return `${told}; ${seen}`;
    },
  },
  {
    id: 's3-complete-size',
    claim: 'Complete with another MpuObjectSize than the parts have is refused',
    async run(scene, signal) {
      const { upload, part } = await begun(scene, 'size', signal);
      const told = await mustRefuse('a wrong size', [400], () =>
        complete(scene, upload, [part], { MpuObjectSize: CONTENT.byteLength + 1 }, signal),
      );
      must(!(await scene.isThere(upload.key, signal)), `${told}, but the object is there`);
      return told;
    },
  },
  {
    id: 's3-complete-if-none-match',
    claim: 'Complete with If-None-Match: * never overwrites',
    async run(scene, signal) {
      const { upload, part } = await begun(scene, 'complete-if-none-match', signal);
      await scene.put(upload.key, 'first', { IfNoneMatch: '*' }, signal);
      const told = await mustRefuse('Complete', [412], () => complete(scene, upload, [part], {}, signal));
      must((await scene.text(upload.key, signal)) === 'first', `${told}, but the object was overwritten`);
      return told;
    },
  },
  {
    id: 's3-composite-sha256',
    claim: 'the SHA-256 of a multipart object is composite: never mistaken for the digest',
    async run(scene, signal) {
      const key = scene.key('composite');
      const upload: OpenUpload = { key, uploadId: await scene.begin(key, 'SHA256', signal) };
      const checksum = sha256Base64(digestOf(CONTENT));
      const command = new UploadPartCommand({
        Bucket: scene.bucket,
        Key: key,
        UploadId: upload.uploadId,
        PartNumber: 1,
        Body: CONTENT,
        ChecksumSHA256: checksum,
      });
      const { ETag } = await scene.client.send(command, { abortSignal: signal });
      await complete(scene, upload, [{ PartNumber: 1, ETag, ChecksumSHA256: checksum }], {}, signal);
      const { ChecksumSHA256: told = 'none', ChecksumType: type } = await scene.head(key, signal);
      must(
        (type === 'COMPOSITE' || told.includes('-')) && told !== checksum,
        `HEAD tells ${type ?? 'no type'} ${told}`,
      );
      return `${type ?? 'no type'} ${told}`;
    },
  },
];
