import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { CreateBucketCommand, HeadBucketCommand, ListBucketsCommand, S3Client } from '@aws-sdk/client-s3';
import { durabilityCases } from './s3-suite-durability.ts';
import { multipartCases } from './s3-suite-multipart.ts';
import { objectCases } from './s3-suite-objects.ts';
import { signatureCases } from './s3-suite-signatures.ts';
import type { S3Bench, S3Server, S3UnderTest } from './s3-suite-support.ts';
import { caseOf, clientOf, freshKey, refused } from './s3-suite-support.ts';

/**
 * The behaviour of S3 that Entrepot relies on, as cases for `node:test`, through the real SDK and by hand-signed requests.
 *
 * Runs on the embedded endpoint and on a real S3 server: what both pass is S3 as far as we can know it without AWS.
 */
export function s3EndpointSuite(name: string, subject: S3UnderTest): void {
  describe(`S3 endpoint: ${name}`, () => {
    const check = caseOf(subject.differences);
    let server: S3Server | undefined;
    let s3: S3Client | undefined;
    const open = async (): Promise<void> => {
      server = await subject.start();
      s3 = clientOf(server);
    };
    const bench: S3Bench = {
      bucket: freshKey('suite'),
      get server() {
        assert.ok(server);
        return server;
      },
      get s3() {
        assert.ok(s3);
        return s3;
      },
      restart: async () => {
        await subject.kill();
        s3?.destroy();
        await open();
      },
    };
    before(async () => {
      await open();
      await bench.s3.send(new CreateBucketCommand({ Bucket: bench.bucket }));
    });
    after(async () => {
      s3?.destroy();
      await server?.close();
    });

    check('buckets are created, found and listed', async () => {
      await bench.s3.send(new HeadBucketCommand({ Bucket: bench.bucket }));
      await refused(bench.s3.send(new HeadBucketCommand({ Bucket: 'no-such-bucket-here' })), 'NotFound');
      const { Buckets } = await bench.s3.send(new ListBucketsCommand({}));
      assert.ok(Buckets?.some(({ Name }) => Name === bench.bucket));
      await refused(bench.s3.send(new CreateBucketCommand({ Bucket: 'Bad_Name' })), 'InvalidBucketName');
    });
    objectCases(check, bench);
    multipartCases(check, bench);
    signatureCases(check, bench);
    durabilityCases(check, bench);
  });
}
