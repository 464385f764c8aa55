import { InvalidRequestError } from '../errors/cache-error.ts';

/**
 * What another program writes to our standard input, to its end.
 *
 * @throws InvalidRequestError if it is longer than `maxBytes`.
 */
export async function readInput(input: AsyncIterable<Buffer>, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new InvalidRequestError('stdin', `standard input is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
