import { createHash } from 'node:crypto';
import type { Descriptor } from './descriptor.ts';

/**
 * The content that a descriptor carries itself (`data`, base64), where it has the digest and size of the descriptor. Anything else in `data` is as if it were not there.
 * https://github.com/opencontainers/image-spec/blob/main/descriptor.md#embedded-content
 */
export function inlineData(data: unknown, { digest, size }: Descriptor): Uint8Array | undefined {
  if (typeof data !== 'string' || size > data.length) return undefined;
  const bytes = Buffer.from(data, 'base64');
  if (bytes.byteLength !== size) return undefined;
  const algorithm = digest.slice(0, digest.indexOf(':'));
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` === digest ? bytes : undefined;
}
