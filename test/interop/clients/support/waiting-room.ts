import type { Door } from './served-cache.ts';

const HEAD_TIMEOUT_MS = 25_000;

/** Sends whoever asks for the blob with a login back to the same place, as the waiting room does, but at once. */
export function sendBack({ proxy }: Door, digest: string, hops: number): void {
  proxy.rules.push({
    method: 'GET',
    path: new RegExp(`/blobs/${digest}`),
    headers: { authorization: /./ },
    times: hops,
    action: {
      kind: 'answer',
      answer: ({ path }) => {
        const { pathname, searchParams } = new URL(path, proxy.endpoint);
        searchParams.set('sent', String(Number(searchParams.get('sent') ?? 0) + 1));
        return { status: 307, headers: { location: `${pathname}?${searchParams.toString()}`, 'content-length': 0 } };
      },
    },
  });
}

export async function headersOf(url: string): Promise<Headers> {
  const { headers } = await fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(HEAD_TIMEOUT_MS) });
  return headers;
}
