const UTF8_MARK = [0xef, 0xbb, 0xbf];

/**
 * The JSON in `bytes`. What is not UTF-8 is read as Latin-1: a byte that is wrong in an annotation changes nothing that has a meaning here. A byte order mark is
 * ignored (RFC 8259, section 8.1); Go refuses one, so clients in Go cannot use such a document, but that is not for us to say.
 *
 * @throws SyntaxError where it is no JSON in either.
 */
export function parseJson(bytes: Uint8Array): unknown {
  const isMarked = UTF8_MARK.every((byte, i) => bytes[i] === byte);
  return JSON.parse(textOf(isMarked ? bytes.subarray(UTF8_MARK.length) : bytes)) as unknown;
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  }
}
