import type { BlobTally, Receipt } from '../pull/receipt.ts';
import type { RequestCounts } from '../registry/upstream.ts';
import type { JsonValue } from '../fill/json.ts';

/** What of a tally adds up over tasks. */
export type Moved = Omit<BlobTally, 'total'>;

export const NOTHING_MOVED: Moved = { present: 0, copied: 0, copiedElsewhere: 0 };
export const NO_REQUESTS: RequestCounts = { total: 0, ping: 0, token: 0, manifest: 0, blob: 0, redirected: 0 };

export const sumOfMoved = (a: Moved, b: Moved): Moved => ({
  present: a.present + b.present,
  copied: a.copied + b.copied,
  copiedElsewhere: a.copiedElsewhere + b.copiedElsewhere,
});

export const sumOfRequests = (a: RequestCounts, b: RequestCounts): RequestCounts => ({
  total: a.total + b.total,
  ping: a.ping + b.ping,
  token: a.token + b.token,
  manifest: a.manifest + b.manifest,
  blob: a.blob + b.blob,
  redirected: a.redirected + b.redirected,
});

export const movedFrom = (document: JsonValue): Moved => ({
  present: document.get('present').count(),
  copied: document.get('copied').count(),
  copiedElsewhere: document.get('copiedElsewhere').count(),
});

export const requestsFrom = (document: JsonValue): RequestCounts => ({
  total: document.get('total').count(),
  ping: document.get('ping').count(),
  token: document.get('token').count(),
  manifest: document.get('manifest').count(),
  blob: document.get('blob').count(),
  redirected: document.get('redirected').count(),
});

const tallyFrom = (document: JsonValue): BlobTally => ({
  ...movedFrom(document),
  total: document.get('total').count(),
});

/** @throws JsonShapeError if it is no receipt. */
export const receiptFrom = (document: JsonValue): Receipt => ({
  reference: document.get('reference').text(),
  digest: document.get('digest').isAbsent ? null : document.get('digest').digest(),
  mediaType: document.get('mediaType').isAbsent ? null : document.get('mediaType').text(),
  outcome: document.get('outcome').oneOf('hit', 'pulled', 'partial'),
  platforms: document.get('platforms').list((one) => ({
    platform: one.get('platform').text(),
    digest: one.get('digest').digest(),
    complete: one.get('complete').flag(),
  })),
  blobs: tallyFrom(document.get('blobs')),
  bytes: tallyFrom(document.get('bytes')),
  registryRequests: requestsFrom(document.get('registryRequests')),
  skipped: document.get('skipped').list((one) => ({
    digest: one.get('digest').digest(),
    mediaType: one.get('mediaType').text(),
    size: one.get('size').count(),
    reason: one.get('reason').text(),
  })),
  durationMs: document.get('durationMs').count(),
  ...(document.get('recordError').isAbsent ? {} : { recordError: document.get('recordError').text() }),
});
