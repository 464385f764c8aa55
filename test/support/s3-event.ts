/** S3's event for a deleted object: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
export const objectDeleted = (bucket: unknown, key: unknown): object => ({
  version: '0',
  id: '2ee9cc15-d022-99ea-1fb8-1b1bac4850f9',
  'detail-type': 'Object Deleted',
  source: 'aws.s3',
  account: '000000000000',
  time: '2026-03-01T03:00:00Z',
  region: 'us-east-1',
  resources: [`arn:aws:s3:::${String(bucket)}`],
  detail: {
    version: '0',
    bucket: { name: bucket },
    object: { key, sequencer: '617f08299329d189' },
    'request-id': 'N4N7GDK58NMKJ12R',
    requester: '000000000000',
    'source-ip-address': '192.0.2.1',
    reason: 'DeleteObject',
    'deletion-type': 'Permanently Deleted',
  },
});

/** As Lambda passes messages of a queue, m0, m1, … with these bodies: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html */
export const sqsBatch = (...bodies: readonly unknown[]): object => ({
  Records: bodies.map((body, i) => ({
    messageId: `m${i}`,
    receiptHandle: 'AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1545082649183',
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: '1545082649185',
    },
    messageAttributes: {},
    md5OfBody: 'e4e68fb7bd0e697a0ae8f1bb342846b3',
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:us-east-1:000000000000:entrepot-ContentDeleted',
    awsRegion: 'us-east-1',
  })),
});
