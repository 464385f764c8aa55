import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, afterEach, before, describe, test } from 'node:test';
import { CacheError } from '../../../lib/errors/cache-error.ts';
import { eventsAnnouncer, type EventsAnnouncer } from '../../../lib/jobs/events-announcer.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';

const DIGEST = `sha256:${'a'.repeat(64)}` as const;
const NONE = { total: 0, present: 0, copied: 0, copiedElsewhere: 0 };
const RECEIPT = {
  reference: 'docker.io/library/alpine:latest',
  digest: DIGEST,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  outcome: 'pulled',
  platforms: [{ platform: 'linux/amd64', digest: DIGEST, complete: true }],
  blobs: NONE,
  bytes: NONE,
  registryRequests: { total: 0, ping: 0, token: 0, manifest: 0, blob: 0, redirected: 0 },
  skipped: [],
  durationMs: 1,
} as unknown as Receipt;
const signal = new AbortController().signal;

interface Entry {
  readonly EventBusName: string;
  readonly Source: string;
  readonly DetailType: string;
  readonly Detail: string;
}

describe('announcing on an event bus', () => {
  /** What the next requests are answered with; 200 and success when it is empty. */
  const answers: { status: number; body: object }[] = [];
  const entries: Entry[] = [];
  let server: Server;
  let announcer: EventsAnnouncer;

  before(async () => {
    server = createServer((request, response) => {
      void json(request).then((body) => {
        entries.push(...(body as { Entries: Entry[] }).Entries);
        const answer = answers.shift() ?? { status: 200, body: { FailedEntryCount: 0, Entries: [{ EventId: 'id' }] } };
        response.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.1' });
        response.end(JSON.stringify(answer.body));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const credentials = { accessKeyId: 'AKIAENTREPOTTEST', secretAccessKey: 'secret' };
    announcer = eventsAnnouncer({ bus: 'bus', client: { endpoint, region: 'us-east-1', credentials } });
  });
  after(() => {
    announcer.close();
    server.close();
  });
  afterEach(() => {
    entries.length = 0;
    answers.length = 0;
  });

  test('puts one entry with our source and the type', async () => {
    await announcer.announce({ type: 'Image Cached', detail: { pullId: 'id', receipt: RECEIPT } }, signal);
    assert.equal(entries.length, 1);
    const [{ Detail, ...entry }] = entries as [Entry];
    assert.deepEqual(entry, { EventBusName: 'bus', Source: 'entrepot', DetailType: 'Image Cached' });
    assert.deepEqual(JSON.parse(Detail), { pullId: 'id', receipt: RECEIPT });
  });

  test('an entry that the bus refused is an error, though the answer is 200', async () => {
    const refused = { FailedEntryCount: 1, Entries: [{ ErrorCode: 'InternalFailure', ErrorMessage: 'sorry' }] };
    answers.push({ status: 200, body: refused });
    await assert.rejects(
      announcer.announce({ type: 'Image Cached', detail: { pullId: null, receipt: RECEIPT } }, signal),
      (error) => {
        assert.ok(error instanceof CacheError && error.retryable);
        assert.match(error.message, /event bus bus did not accept "Image Cached": InternalFailure, sorry/);
        return true;
      },
    );
  });

  test('a service that refuses is a retryable error that says what the role needs', async () => {
    answers.push({ status: 400, body: { __type: 'AccessDeniedException', message: 'no' } });
    await assert.rejects(
      announcer.announce({ type: 'Image Cached', detail: { pullId: null, receipt: RECEIPT } }, signal),
      { name: 'CacheError', retryable: true, message: /AccessDeniedException.*events:PutEvents/ },
    );
  });

  test('a receipt that is too large comes without its lists, and says so', async () => {
    const [platform] = RECEIPT.platforms;
    const receipt = { ...RECEIPT, platforms: Array.from({ length: 3_000 }, () => platform) } as Receipt;
    await announcer.announce({ type: 'Image Cached', detail: { pullId: 'id', receipt } }, signal);
    const detail = JSON.parse(entries[0]?.Detail ?? '') as { receipt: Receipt; trimmed: boolean };
    assert.equal(detail.trimmed, true);
    assert.deepEqual(detail.receipt, { ...RECEIPT, platforms: [] });
  });

  test('so do failures and summaries', async () => {
    const long = '€'.repeat(200_000);
    const error = { name: 'DeniedError', message: long, status: 403, retryable: false };
    await announcer.announce({ type: 'Pull Failed', detail: { pullId: 'id', reference: 'alpine', error } }, signal);
    const failures = [{ entry: 'alpine', message: long, retryable: true }];
    const run = { warmup: 'nightly', scheduledTime: '2025-01-01T00:00:00Z', checked: 1, unchanged: 0 };
    await announcer.announce({ type: 'Warmup Finished', detail: { ...run, pulls: [], failures } }, signal);
    for (const { Detail } of entries) assert.ok(Buffer.byteLength(Detail) < 250_000);
    const [failed, finished] = entries.map(({ Detail }) => JSON.parse(Detail) as Record<string, unknown>);
    assert.equal(failed?.pullId, 'id');
    assert.deepEqual(finished, { ...run, pulls: [], failures: [], trimmed: true });
  });

  test('stops when it is told to', async () => {
    await assert.rejects(
      announcer.announce(
        { type: 'Image Cached', detail: { pullId: null, receipt: RECEIPT } },
        AbortSignal.abort(new Error('over')),
      ),
      /over/,
    );
    assert.equal(entries.length, 0);
  });
});
