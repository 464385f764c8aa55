import assert from 'node:assert/strict';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type {
  CompletedPart,
  CompleteMultipartUploadCommandInput,
  CreateMultipartUploadCommandInput,
  UploadPartCommandInput,
} from '@aws-sdk/client-s3';
import type { Case, S3Bench } from './s3-suite-support.ts';
import { crc32Base64, freshKey, noise, refused, sha256 } from './s3-suite-support.ts';

const PART_BYTES = 5 * 1024 * 1024;
const FULL_CRC32 = { ChecksumAlgorithm: 'CRC32', ChecksumType: 'FULL_OBJECT' } as const;

/** One multipart upload on its way. */
class Upload {
  readonly bench: S3Bench;
  readonly key: string;
  readonly id: string;

  constructor(bench: S3Bench, key: string, id: string) {
    this.bench = bench;
    this.key = key;
    this.id = id;
  }

  static async begin(bench: S3Bench, key = freshKey(), more: Partial<CreateMultipartUploadCommandInput> = FULL_CRC32) {
    const Bucket = bench.bucket;
    const { UploadId = '' } = await bench.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: key, ...more }));
    return new Upload(bench, key, UploadId);
  }

  async part(PartNumber: number, Body: Buffer, more: Partial<UploadPartCommandInput> = {}): Promise<CompletedPart> {
    const part = await this.bench.s3.send(new UploadPartCommand({ ...this.#where, PartNumber, Body, ...more }));
    const { ETag, ChecksumCRC32, ChecksumSHA256 } = part;
    return { PartNumber, ETag, ChecksumCRC32, ChecksumSHA256 };
  }

  complete(Parts: CompletedPart[], more: Partial<CompleteMultipartUploadCommandInput> = {}) {
    return this.bench.s3.send(
      new CompleteMultipartUploadCommand({ ...this.#where, MultipartUpload: { Parts }, ...more }),
    );
  }

  abort() {
    return this.bench.s3.send(new AbortMultipartUploadCommand(this.#where));
  }

  parts(more: { MaxParts?: number; PartNumberMarker?: string } = {}) {
    return this.bench.s3.send(new ListPartsCommand({ ...this.#where, ...more }));
  }

  head() {
    const { Bucket, Key } = this.#where;
    return this.bench.s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }));
  }

  async read(Range?: string): Promise<Buffer> {
    const { Bucket, Key } = this.#where;
    const { Body } = await this.bench.s3.send(new GetObjectCommand({ Bucket, Key, Range }));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }

  get #where() {
    return { Bucket: this.bench.bucket, Key: this.key, UploadId: this.id };
  }
}

/** Multipart uploads, in any order. */
export function multipartCases(check: Case, bench: S3Bench): void {
  check('parts in any order and one overwritten become one object with a full-object CRC32', async () => {
    const upload = await Upload.begin(bench, freshKey(), {
      ...FULL_CRC32,
      Metadata: { domain: 'public' },
      ContentType: 'application/test',
    });
    const bytes = noise(upload.key, 2 * PART_BYTES + 12_345);
    const cut = [0, PART_BYTES, 2 * PART_BYTES, bytes.length];
    const piece = (number: number): Buffer => bytes.subarray(cut[number - 1], cut[number]);
    const third = await upload.part(3, piece(3));
    await upload.part(1, noise('other', PART_BYTES));
    const second = await upload.part(2, piece(2));
    const first = await upload.part(1, piece(1));
    await refused(upload.head(), 'NotFound');
    const listed = await upload.parts();
    assert.deepEqual(
      listed.Parts?.map(({ PartNumber, Size, ETag, ChecksumCRC32 }) => [PartNumber, Size, ETag, ChecksumCRC32]),
      [first, second, third].map(({ ETag }, index) => [
        index + 1,
        piece(index + 1).length,
        ETag,
        crc32Base64(piece(index + 1)),
      ]),
    );
    const { ETag } = await upload.complete([first, second, third], {
      MpuObjectSize: bytes.length,
      ChecksumCRC32: crc32Base64(bytes),
      ChecksumType: 'FULL_OBJECT',
      IfNoneMatch: '*',
    });
    const found = await upload.head();
    assert.match(ETag ?? '', /^"[0-9a-f]{32}-3"$/);
    assert.deepEqual(
      [found.ETag, found.ContentLength, found.ChecksumCRC32, found.ChecksumType, found.Metadata, found.ContentType],
      [ETag, bytes.length, crc32Base64(bytes), 'FULL_OBJECT', { domain: 'public' }, 'application/test'],
    );
    assert.ok((await upload.read()).equals(bytes));
    assert.deepEqual(
      await upload.read(`bytes=${PART_BYTES - 10}-${PART_BYTES + 9}`),
      bytes.subarray(PART_BYTES - 10, PART_BYTES + 10),
    );
    await refused(upload.parts(), 'NoSuchUpload');
  });

  check('a wrong full-object CRC32 is refused, and the upload stays open', async () => {
    const upload = await Upload.begin(bench);
    const bytes = noise(upload.key, 1000);
    const part = await upload.part(1, bytes);
    await refused(
      upload.complete([part], { ChecksumCRC32: crc32Base64(Buffer.from('x')), ChecksumType: 'FULL_OBJECT' }),
      'BadDigest',
    );
    await refused(upload.head(), 'NotFound');
    await upload.complete([part], { ChecksumCRC32: crc32Base64(bytes), ChecksumType: 'FULL_OBJECT' });
    assert.deepEqual(await upload.read(), bytes);
  });

  check('a wrong total size is refused, and the upload stays open', async () => {
    const upload = await Upload.begin(bench);
    const part = await upload.part(1, Buffer.from('123'));
    await refused(upload.complete([part], { MpuObjectSize: 4 }), 'InvalidRequest');
    await upload.complete([part], { MpuObjectSize: 3 });
  });

  check('a SHA-256 upload has a composite checksum, and its parts must be named with theirs', async () => {
    const upload = await Upload.begin(bench, freshKey(), { ChecksumAlgorithm: 'SHA256' });
    const pieces = [noise('one', PART_BYTES), noise('two', 10)] as const;
    const parts = [
      await upload.part(1, pieces[0], { ChecksumAlgorithm: 'SHA256' }),
      await upload.part(2, pieces[1], { ChecksumAlgorithm: 'SHA256' }),
    ];
    assert.equal(parts[1]?.ChecksumSHA256, sha256(pieces[1]).toString('base64'));
    await refused(upload.complete(parts.map(({ PartNumber, ETag }) => ({ PartNumber, ETag }))), 'InvalidRequest');
    const composite = `${sha256(Buffer.concat(pieces.map(sha256))).toString('base64')}-2`;
    assert.equal((await upload.complete(parts)).ChecksumSHA256, composite);
    const found = await upload.head();
    assert.deepEqual([found.ChecksumSHA256, found.ChecksumType], [composite, 'COMPOSITE']);
  });

  check('a part with a wrong checksum is refused, and one of another algorithm', async () => {
    const upload = await Upload.begin(bench);
    await refused(upload.part(1, Buffer.from('x'), { ChecksumCRC32: crc32Base64(Buffer.from('y')) }), 'BadDigest');
    await refused(upload.part(1, Buffer.from('x'), { ChecksumAlgorithm: 'SHA256' }), 'InvalidRequest');
    assert.equal((await upload.parts()).Parts?.length ?? 0, 0);
  });

  check('a part may bring a checksum that Create did not name, and Complete has to name it then', async () => {
    for (const ChecksumAlgorithm of ['CRC32', 'SHA256'] as const) {
      const upload = await Upload.begin(bench, freshKey(), {});
      const bytes = noise(upload.key, 1000);
      const wrong = { ChecksumSHA256: sha256('other').toString('base64') };
      await refused(upload.part(1, bytes, wrong), 'BadDigest');
      const part = await upload.part(1, bytes, { ChecksumAlgorithm });
      const { PartNumber, ETag, ...named } = part;
      assert.deepEqual(
        named,
        ChecksumAlgorithm === 'CRC32'
          ? { ChecksumCRC32: crc32Base64(bytes), ChecksumSHA256: undefined }
          : { ChecksumCRC32: undefined, ChecksumSHA256: sha256(bytes).toString('base64') },
      );
      await refused(upload.complete([{ PartNumber, ETag }]), 'InvalidRequest');
      await refused(upload.complete([{ ...part, ChecksumCRC32: crc32Base64(Buffer.from('x')) }]), 'InvalidPart');
      await upload.complete([part]);
      assert.deepEqual(await upload.read(), bytes);
    }
  });

  check('Complete checks its list of parts', async () => {
    const upload = await Upload.begin(bench);
    const first = await upload.part(1, noise('one', PART_BYTES));
    const small = await upload.part(2, Buffer.from('small'));
    const last = await upload.part(3, Buffer.from('last'));
    await refused(upload.complete([{ ...first, ETag: '"0123456789abcdef0123456789abcdef"' }]), 'InvalidPart');
    await refused(upload.complete([first, { ...last, PartNumber: 9 }]), 'InvalidPart');
    await refused(upload.complete([first, { ...last, ChecksumCRC32: crc32Base64(Buffer.from('x')) }]), 'InvalidPart');
    await refused(upload.complete([first, small, last]), 'EntityTooSmall');
    const second = await upload.part(2, noise('two', PART_BYTES));
    await refused(upload.complete([second, first, last]), 'InvalidPartOrder');
    await refused(upload.complete([first, { ...last, ChecksumCRC32: undefined }]), 'InvalidRequest');
    await refused(upload.complete([]), 'MalformedXML', 'InvalidRequest');
    await upload.complete([first, last]);
    assert.equal((await upload.head()).ContentLength, PART_BYTES + 4);
  });

  check('Complete with If-None-Match: * never overwrites, and leaves the upload open', async () => {
    const upload = await Upload.begin(bench);
    const winner = await Upload.begin(bench, upload.key);
    const part = await upload.part(1, Buffer.from('late'));
    await winner.complete([await winner.part(1, Buffer.from('early'))], { IfNoneMatch: '*' });
    await refused(upload.complete([part], { IfNoneMatch: '*' }), 'PreconditionFailed');
    assert.equal((await upload.read()).toString(), 'early');
    assert.equal((await upload.parts()).Parts?.length, 1);
    await upload.abort();
  });

  check('exactly one of 16 racing conditional Completes wins', async () => {
    const key = freshKey();
    const uploads = await Promise.all(
      Array.from({ length: 16 }, async (_, index) => {
        const upload = await Upload.begin(bench, key);
        return { upload, part: await upload.part(1, Buffer.from(`racer ${index}`)), text: `racer ${index}` };
      }),
    );
    const results = await Promise.allSettled(
      uploads.map(({ upload, part }) => upload.complete([part], { IfNoneMatch: '*' })),
    );
    const winners = uploads.filter((_, index) => results[index]?.status === 'fulfilled');
    assert.equal(winners.length, 1);
    for (const result of results) {
      if (result.status === 'rejected') {
        await refused(Promise.reject(result.reason as Error), 'PreconditionFailed', 'ConditionalRequestConflict');
      }
    }
    assert.equal((await winners[0]?.upload.read())?.toString(), winners[0]?.text);
  });

  check('Abort forgets the upload', async () => {
    const upload = await Upload.begin(bench);
    const part = await upload.part(1, Buffer.from('x'));
    await upload.abort();
    await refused(upload.part(2, Buffer.from('y')), 'NoSuchUpload');
    await refused(upload.complete([part]), 'NoSuchUpload');
    await refused(upload.parts(), 'NoSuchUpload');
    await refused(upload.abort(), 'NoSuchUpload');
    await refused(upload.head(), 'NotFound');
  });

  check('a repeated Complete is answered like the first', async () => {
    const upload = await Upload.begin(bench);
    const part = await upload.part(1, Buffer.from('x'));
    const { ETag } = await upload.complete([part]);
    assert.equal((await upload.complete([part])).ETag, ETag);
  });

  check('ListParts goes on from page to page', async () => {
    const upload = await Upload.begin(bench);
    for (const number of [1, 2, 5, 10_000]) await upload.part(number, Buffer.from(String(number)));
    await refused(upload.part(0, Buffer.from('x')), 'InvalidArgument');
    await refused(upload.part(10_001, Buffer.from('x')), 'InvalidArgument');
    const numbers: (number | undefined)[] = [];
    let PartNumberMarker = '0';
    for (let page = 0; page < 3; page++) {
      const answer = await upload.parts({ MaxParts: 2, PartNumberMarker });
      numbers.push(...(answer.Parts ?? []).map(({ PartNumber }) => PartNumber));
      if (answer.IsTruncated !== true) break;
      PartNumberMarker = answer.NextPartNumberMarker ?? '';
    }
    assert.deepEqual(numbers, [1, 2, 5, 10_000]);
    await upload.abort();
  });

  check('ListMultipartUploads shows what is open, from page to page', async () => {
    const top = freshKey('open');
    const uploads: Upload[] = [];
    for (const name of ['a', 'b', 'b', 'c']) uploads.push(await Upload.begin(bench, `${top}/${name}`));
    const seen: string[] = [];
    let marker: { KeyMarker?: string; UploadIdMarker?: string } = {};
    for (let page = 0; page < 6; page++) {
      const answer = await bench.s3.send(
        new ListMultipartUploadsCommand({ Bucket: bench.bucket, Prefix: `${top}/`, MaxUploads: 1, ...marker }),
      );
      seen.push(...(answer.Uploads ?? []).map(({ Key = '', UploadId = '' }) => `${Key} ${UploadId}`));
      if (answer.IsTruncated !== true) break;
      marker = { KeyMarker: answer.NextKeyMarker ?? '', UploadIdMarker: answer.NextUploadIdMarker ?? '' };
    }
    assert.deepEqual(seen.toSorted(), uploads.map(({ key, id }) => `${key} ${id}`).toSorted());
    for (const upload of uploads) await upload.abort();
  });
}
