import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { combineCrcs, createHasher } from '../../../infra/local/s3/checksums.ts';
import { ChunkDecoder } from '../../../infra/local/s3/chunked.ts';
import { childText, leaf, parseXml } from '../../../infra/local/s3/xml.ts';

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));

test('the CRC of the whole follows from the CRCs and sizes of the parts', () => {
  fc.assert(
    fc.property(
      fc.array(bytes, { minLength: 1, maxLength: 6 }),
      fc.constantFrom('CRC32', 'CRC32C'),
      (parts, algorithm) => {
        const crcOf = (content: Buffer): string => {
          const hasher = createHasher(algorithm);
          hasher.update(content);
          return hasher.digest().toString('base64');
        };
        const combined = combineCrcs(
          algorithm,
          parts.map((part) => ({ checksum: crcOf(part), size: part.length })),
        );
        assert.equal(combined, crcOf(Buffer.concat(parts)));
      },
    ),
  );
});

test('aws-chunked comes apart the same, wherever the network cuts it', () => {
  const chunks = [Buffer.alloc(8192, 'a'), Buffer.alloc(9000, '\r'), Buffer.from('\n0\r\n')];
  const framed = Buffer.concat([
    ...chunks.flatMap((chunk) => [Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n')]),
    Buffer.from('0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n'),
  ]);
  fc.assert(
    fc.property(fc.array(fc.nat(framed.length), { maxLength: 12 }), (cuts) => {
      const decoder = new ChunkDecoder(true, undefined);
      const places = [0, ...cuts.toSorted((one, other) => one - other), framed.length];
      const content = places.flatMap((from, index) => decoder.push(framed.subarray(from, places[index + 1])));
      decoder.end();
      assert.ok(Buffer.concat(content).equals(Buffer.concat(chunks)));
      assert.deepEqual([...decoder.trailers], [['x-amz-checksum-crc32', 'AAAAAA==']]);
    }),
  );
});

test('aws-chunked that stops early or goes on behind its end is refused', () => {
  for (const body of [
    '5\r\nabc',
    '3\r\nabc\r\n',
    '0\r\n',
    '3\r\nabcd\r\n0\r\n\r\n',
    '0\r\n\r\nmore\r\n',
    'zz\r\n',
    '3\nabc\r\n0\r\n\r\n',
  ]) {
    const decoder = new ChunkDecoder(true, undefined);
    assert.throws(() => {
      decoder.push(Buffer.from(body));
      decoder.end();
    }, /aws-chunked/);
  }
});

test('XML text comes back as it was written', () => {
  const text = fc.string({ unit: fc.constantFrom('a', '<', '>', '&', '"', "'", '\r', ' ', 'é', '😀', '&amp;', ']]>') });
  fc.assert(
    fc.property(text, (key) => {
      assert.equal(childText(parseXml(`<Delete xmlns="x">${leaf('Key', key)}</Delete>`, 'Delete'), 'Key'), key);
    }),
  );
});

test('XML that is not well-formed, too deep, or has a DOCTYPE is refused', () => {
  const deep = '<a>'.repeat(20) + '</a>'.repeat(20);
  for (const source of [
    '',
    'text',
    '<a>',
    '<a></b>',
    '<b/>',
    '<a/><a/>',
    '<a>&unknown;</a>',
    '<!DOCTYPE a><a/>',
    '<a><![CDATA[x]]></a>',
    deep,
  ]) {
    assert.throws(() => parseXml(source, 'a'), { code: 'MalformedXML' }, source);
  }
});
