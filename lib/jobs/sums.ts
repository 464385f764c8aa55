import type { Moved, Receipt } from '../pull/receipt.ts';

type RequestCounts = Receipt['registryRequests'];

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
