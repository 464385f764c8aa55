import { CacheError } from '../errors/cache-error.ts';

/** No answer that is looked at has more: manifests are 4 MiB at most by default. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/** The whole body. @throws CacheError if it is longer than any answer should be. */
export async function answerBytes(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new CacheError(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`, {
        op: 'read answer',
        origin: 'upstream',
        retryable: false,
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
