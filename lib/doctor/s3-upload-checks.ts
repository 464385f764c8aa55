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

/** Minimum of every part but the last: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const LEAST_PART_BYTES = 5 * 1024 * 1024;
const CONTENT = Buffer.from('content of one part');
const WRONG_CRC = crcOf(Buffer.from('other content'));

async function begun(fixture: S3Fixture, name: string, signal: AbortSignal, bytes = CONTENT) {
  const key = fixture.key(name);
  const upload: OpenUpload = { key, uploadId: await fixture.begin(key, 'CRC32', signal) };
  return { upload, part: await fixture.part(upload, 1, bytes, signal) };
}

type More = Partial<CompleteMultipartUploadCommandInput>;

/** Complete like the code does it, but with `more`. */
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

/** Must be refused by the policy of the bucket. */
export const completeUnconditionally = (fixture: S3Fixture, upload: OpenUpload, part: Part, signal: AbortSignal) =>
  complete(fixture, upload, [part], { IfNoneMatch: undefined }, signal);

const listParts = ({ client, bucket }: S3Fixture, { key, uploadId }: OpenUpload, abortSignal: AbortSignal) =>
  client.send(new ListPartsCommand({ Bucket: bucket, Key: key, UploadId: uploadId }), { abortSignal });

/** What multipart uploads must do. */
export const S3_UPLOAD_CHECKS: readonly Check<S3Fixture>[] = [
  {
    id: 's3-upload-invisible',
    claim: 'an open upload shows no object; ListParts returns size, ETag and CRC-32 of its parts',
    async run(fixture, signal) {
      const { upload, part } = await begun(fixture, 'invisible', signal);
      must(!(await fixture.isThere(upload.key, signal)), 'HEAD found an object of an upload that is not complete');
      const [listed] = (await listParts(fixture, upload, signal)).Parts ?? [];
      const { Size, ETag, ChecksumCRC32 } = listed ?? {};
      const seen = JSON.stringify({ Size, ETag, ChecksumCRC32 });
      must(Size === CONTENT.byteLength && ETag === part.ETag && ChecksumCRC32 === part.ChecksumCRC32, seen);
      return seen;
    },
  },
  {
    id: 's3-upload-aborted',
    claim: 'an aborted upload is unknown: 404',
    async run(fixture, signal) {
      const { upload } = await begun(fixture, 'aborted', signal);
      const { key, uploadId } = upload;
      const abort = new AbortMultipartUploadCommand({ Bucket: fixture.bucket, Key: key, UploadId: uploadId });
      await fixture.client.send(abort, { abortSignal: signal });
      return await mustRefuse('ListParts', [404], () => listParts(fixture, upload, signal));
    },
  },
  {
    id: 's3-part-crc32',
    claim: 'an unsigned part with a wrong CRC-32 is refused',
    async run(fixture, signal) {
      const { upload } = await begun(fixture, 'part-crc32', signal);
      return await mustRefuse('the part', ['BadDigest'], () => fixture.part(upload, 2, CONTENT, signal, WRONG_CRC));
    },
  },
  {
    id: 's3-full-object-crc32',
    claim: 'Complete verifies the CRC-32 of the whole object, and HEAD returns it',
    async run(fixture, signal) {
      const [first, second] = [Buffer.alloc(LEAST_PART_BYTES, 'a'), Buffer.from('the end')];
      const { upload, part } = await begun(fixture, 'full-object', signal, first);
      const parts = [part, await fixture.part(upload, 2, second, signal)];
      const full = (crc: string): More => ({ ChecksumCRC32: crc, ChecksumType: 'FULL_OBJECT' });
      const refusal = await mustRefuse('a wrong CRC-32', [400], () =>
        complete(fixture, upload, parts, full(WRONG_CRC), signal),
      );
      must(!(await fixture.isThere(upload.key, signal)), `${refusal}, but the object is there`);
      const crc = crcOf(Buffer.concat([first, second]));
      await complete(fixture, upload, parts, full(crc), signal);
      const { ChecksumCRC32, ChecksumType, ContentLength } = await fixture.head(upload.key, signal);
      const seen = `HEAD: ${ChecksumType ?? 'no type'} ${ChecksumCRC32 ?? 'no CRC-32'}, ${ContentLength ?? 0} bytes`;
      must(ChecksumType === 'FULL_OBJECT' && ChecksumCRC32 === crc, seen);
      return `${refusal}; ${seen}`;
    },
  },
  {
    id: 's3-complete-size',
    claim: 'Complete with another MpuObjectSize than the parts have is refused',
    async run(fixture, signal) {
      const { upload, part } = await begun(fixture, 'size', signal);
      const refusal = await mustRefuse('a wrong size', [400], () =>
        complete(fixture, upload, [part], { MpuObjectSize: CONTENT.byteLength + 1 }, signal),
      );
      must(!(await fixture.isThere(upload.key, signal)), `${refusal}, but the object is there`);
      return refusal;
    },
  },
  {
    id: 's3-complete-if-none-match',
    claim: 'Complete with If-None-Match: * never overwrites',
    async run(fixture, signal) {
      const { upload, part } = await begun(fixture, 'complete-if-none-match', signal);
      await fixture.put(upload.key, 'first', { IfNoneMatch: '*' }, signal);
      const refusal = await mustRefuse('Complete', [412], () => complete(fixture, upload, [part], {}, signal));
      must((await fixture.text(upload.key, signal)) === 'first', `${refusal}, but the object was overwritten`);
      return refusal;
    },
  },
  {
    id: 's3-composite-sha256',
    claim: 'the SHA-256 of a multipart object is composite: never mistaken for the digest',
    async run(fixture, signal) {
      const key = fixture.key('composite');
      const upload: OpenUpload = { key, uploadId: await fixture.begin(key, 'SHA256', signal) };
      const checksum = sha256Base64(digestOf(CONTENT));
      const command = new UploadPartCommand({
        Bucket: fixture.bucket,
        Key: key,
        UploadId: upload.uploadId,
        PartNumber: 1,
        Body: CONTENT,
        ChecksumSHA256: checksum,
      });
      const { ETag } = await fixture.client.send(command, { abortSignal: signal });
      await complete(fixture, upload, [{ PartNumber: 1, ETag, ChecksumSHA256: checksum }], {}, signal);
      const { ChecksumSHA256: returned = 'none', ChecksumType: type } = await fixture.head(key, signal);
      must(
        (type === 'COMPOSITE' || returned.includes('-')) && returned !== checksum,
        `HEAD returns ${type ?? 'no type'} ${returned}`,
      );
      return `${type ?? 'no type'} ${returned}`;
    },
  },
];
