import { createHash } from 'node:crypto';
import { ContentMismatchError } from '../errors/cache-error.ts';
import type { Descriptor } from './descriptor.ts';
import { algorithmOf } from './digest.ts';

/**
 * Passes bytes through. When the end is reached, they were exactly those of `descriptor`: size and digest match.
 * Excess bytes are never passed on.
 *
 * @throws ContentMismatchError saying what was received instead.
 */
export async function* verify(
  source: AsyncIterable<Uint8Array>,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
): AsyncGenerator<Uint8Array> {
  const algorithm = algorithmOf(descriptor.digest);
  const hash = createHash(algorithm);
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.byteLength;
    if (bytes > descriptor.size) throw mismatch(descriptor, `more than ${descriptor.size} bytes arrived`);
    hash.update(chunk);
    yield chunk;
  }
  if (bytes !== descriptor.size) throw mismatch(descriptor, `${bytes} bytes arrived`);
  const found = `${algorithm}:${hash.digest('hex')}`;
  if (found !== descriptor.digest) throw mismatch(descriptor, `the bytes have digest ${found}`);
}

/** Reads and verifies everything, keeping nothing. */
export async function drainVerified(
  source: AsyncIterable<Uint8Array>,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
): Promise<void> {
  for await (const _ of verify(source, descriptor));
}

/**
 * The whole bytes of `descriptor`, verified. `maxBytes` is checked before anything is read.
 *
 * @throws ContentMismatchError
 */
export async function readVerified(
  source: AsyncIterable<Uint8Array>,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  maxBytes: number,
): Promise<Uint8Array> {
  if (descriptor.size > maxBytes) {
    throw mismatch(descriptor, `its size is above the limit of ${maxBytes} bytes for content held in memory`);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of verify(source, descriptor)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function mismatch(descriptor: Pick<Descriptor, 'digest' | 'size'>, found: string): ContentMismatchError {
  return new ContentMismatchError(
    'verify',
    `content ${descriptor.digest} of ${descriptor.size} bytes was requested, but ${found}; nothing was stored`,
  );
}
