import type { Answer } from './answer.ts';
import type { UpstreamRequest } from './upstream.ts';

/** A page of the tags, in the order of their names, as `n` and `last` ask for. */
export function tagsAnswer(request: UpstreamRequest, references: readonly string[]): Answer {
  const all = references.filter((reference) => !reference.includes(':')).sort();
  const last = request.query.get('last');
  const rest = last === null ? all : all.filter((tag) => tag > last);
  const tags = rest.slice(0, Number(request.query.get('n') ?? rest.length));
  const more = tags.length > 0 && tags.length < rest.length;
  const next = new URLSearchParams({ n: String(tags.length), last: tags.at(-1) ?? '' });
  return {
    status: 200,
    headers: {
      'content-type': 'application/json',
      ...(more ? { link: `<${request.path}?${next.toString()}>; rel="next"` } : {}),
    },
    body: Buffer.from(JSON.stringify({ name: request.repository, tags })),
  };
}

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

/** One page of the referrers of a manifest, and a link to the next. */
export function referrersAnswer(request: UpstreamRequest, pages: readonly (readonly object[])[]): Answer {
  const page = Number(request.query.get('page') ?? 0);
  const more = page + 1 < pages.length;
  const manifests = pages[page] ?? [];
  return {
    status: 200,
    headers: {
      'content-type': OCI_INDEX,
      ...(more ? { link: `<${request.path}?page=${page + 1}>; rel="next"` } : {}),
    },
    body: Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests })),
  };
}

/** A blob, or the part of it that `Range` asks for. Also serves as the content behind a redirect. */
export function blobAnswer(blob: Uint8Array, request: UpstreamRequest, ranges = true): Answer {
  const headers = { 'content-type': 'application/octet-stream', ...(ranges ? { 'accept-ranges': 'bytes' } : {}) };
  const range = ranges ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') : null;
  if (range === null) return { status: 200, headers, body: blob };
  const start = Number(range[1]);
  const end = range[2] === '' ? blob.byteLength - 1 : Math.min(Number(range[2]), blob.byteLength - 1);
  if (start > end) {
    return { status: 416, headers: { 'content-range': `bytes */${blob.byteLength}` }, body: new Uint8Array() };
  }
  return {
    status: 206,
    headers: { ...headers, 'content-range': `bytes ${start}-${end}/${blob.byteLength}` },
    body: blob.subarray(start, end + 1),
  };
}
