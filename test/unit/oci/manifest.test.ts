import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { digestOf } from '../../../lib/oci/digest.ts';
import {
  blobsOf,
  parseAnyManifest,
  parseManifest,
  platformOfConfig,
  type Index,
  type Manifest,
} from '../../../lib/oci/manifest.ts';
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  OCI_ARTIFACT_MANIFEST,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
  OCTET_STREAM,
} from '../../../lib/oci/media-type.ts';

const LIMITS = { fanOut: 10 };
const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

const blob = (name: string, size = 10, mediaType = 'application/x') => ({
  mediaType,
  digest: digestOf(Buffer.from(name)),
  size,
});
const bytesOf = (document: unknown): Uint8Array =>
  Buffer.from(typeof document === 'string' ? document : JSON.stringify(document));
const parse = (document: unknown, contentType?: string): Index | Manifest =>
  parseManifest(bytesOf(document), contentType, LIMITS);
const parseImage = (document: unknown, contentType?: string): Manifest => {
  const parsed = parse(document, contentType);
  assert.ok(parsed.kind === 'manifest');
  return parsed;
};
const parseIndex = (document: unknown, contentType?: string): Index => {
  const parsed = parse(document, contentType);
  assert.ok(parsed.kind === 'index');
  return parsed;
};
const invalid = (document: unknown, message: RegExp, contentType?: string): void =>
  assert.throws(() => parse(document, contentType), {
    name: 'InvalidManifestError',
    code: 'MANIFEST_INVALID',
    origin: 'upstream',
    message,
  });

const image = {
  schemaVersion: 2,
  mediaType: OCI_MANIFEST,
  config: blob('config', 5, OCI_CONFIG),
  layers: [blob('a'), blob('b')],
};

describe('a manifest', () => {
  test('has a config and layers', () => {
    assert.deepEqual(parse(image), {
      kind: 'manifest',
      mediaType: OCI_MANIFEST,
      config: image.config,
      layers: image.layers,
      foreignLayers: [],
    });
  });

  test('is of the kind that its mediaType, else its Content-Type, else its fields say', () => {
    const { mediaType: _, ...untyped } = image;
    assert.equal(parse(image, DOCKER_MANIFEST).mediaType, OCI_MANIFEST);
    assert.equal(parse(untyped, `${DOCKER_MANIFEST.toUpperCase()}; charset=utf-8`).mediaType, DOCKER_MANIFEST);
    assert.equal(parse(untyped, 'application/json').mediaType, OCI_MANIFEST);
    assert.equal(parse(untyped).mediaType, OCI_MANIFEST);
    assert.equal(parse({ manifests: [] }).mediaType, OCI_INDEX);
    assert.equal(parse({ manifests: [] }, DOCKER_LIST).mediaType, DOCKER_LIST);
    invalid({ schemaVersion: 2 }, /no "mediaType", and neither "manifests" nor "config" or "layers"/);
    invalid({ ...image, mediaType: 7 }, /"mediaType" is not a string/);
    invalid({ ...image, mediaType: 'text/html' }, /media type "text\/html" is neither/);
  });

  test('of an artifact has blobs, and may have no config', () => {
    const artifact = parseImage({
      mediaType: OCI_ARTIFACT_MANIFEST,
      artifactType: 'application/x',
      blobs: [blob('a')],
    });
    assert.deepEqual([artifact.config, artifact.layers], [undefined, [blob('a')]]);
    assert.deepEqual(parseImage({ mediaType: OCI_ARTIFACT_MANIFEST }).layers, []);
  });

  test('of schema 1 is refused, however it shows', () => {
    const old = { schemaVersion: 1, name: 'app', fsLayers: [] };
    for (const [document, type] of [
      [old, SCHEMA_1],
      [old, undefined],
      [{ mediaType: SCHEMA_1 }, OCI_MANIFEST],
      [{}, SCHEMA_1],
    ] as const) {
      invalid(document, /schema 1.*push the image again with a current client/, type);
    }
  });

  test('says nothing with what is null or empty', () => {
    for (const type of [DOCKER_MANIFEST, OCI_MANIFEST]) {
      for (const mediaType of ['', null]) assert.equal(parse({ ...image, mediaType }, type).mediaType, type);
    }
    const empty = parseImage({
      ...image,
      schemaVersion: null,
      config: null,
      layers: null,
      annotations: null,
      subject: null,
      manifests: null,
    });
    assert.deepEqual([empty.config, empty.layers], [undefined, []]);
    const artifact = { mediaType: OCI_ARTIFACT_MANIFEST, layers: null, config: null };
    assert.deepEqual(parseImage({ ...artifact, blobs: [blob('a')] }).layers, [blob('a')]);
    assert.deepEqual(parseImage({ ...artifact, blobs: null }).layers, []);
    assert.deepEqual(
      parseImage({ ...image, layers: [{ ...blob('a'), mediaType: null, urls: null, data: null }] }).layers,
      [{ ...blob('a'), mediaType: 'application/octet-stream' }],
    );
    assert.equal(parse({ mediaType: null, config: image.config, layers: null }).mediaType, OCI_MANIFEST);
    assert.equal(parse({ mediaType: '', manifests: null, layers: null }).mediaType, OCI_INDEX);
    assert.deepEqual(parseIndex({ mediaType: OCI_INDEX, manifests: null, config: null, layers: null }).entries, []);
    assert.equal(parse({ manifests: [], config: null }, '').kind, 'index');
  });

  test('that is not UTF-8 is read as Latin-1, and a byte order mark is ignored', () => {
    const text = JSON.stringify({ ...image, annotations: { vendor: 'M\u00fcller \u0080' } });
    const mark = [0xef, 0xbb, 0xbf];
    for (const bytes of [
      Buffer.from(text, 'latin1'),
      Buffer.from(text, 'utf8'),
      Buffer.from([...mark, ...Buffer.from(text, 'utf8')]),
      Buffer.from([...mark, ...Buffer.from(text, 'latin1')]),
    ]) {
      const parsed = parseManifest(bytes, undefined, LIMITS);
      assert.ok(parsed.kind === 'manifest');
      assert.deepEqual(parsed.layers, image.layers);
    }
    assert.throws(() => parseManifest(Buffer.from(text, 'utf16le'), undefined, LIMITS), /the manifest is not JSON/);
  });

  test('has the content that its descriptors carry themselves, where it is what they say', () => {
    const carried = (name: string, data: unknown) => ({ ...blob(name, Buffer.byteLength(name)), data });
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    const { inline, layers } = parseImage({
      ...image,
      config: carried('config', base64('config')),
      layers: [
        carried('right', base64('right')),
        carried('', ''),
        carried('other bytes', base64('OTHER BYTES')),
        carried('short', base64('shor')),
        carried('long', base64('long and longer')),
        carried('number', 7),
        carried('no base64', '!!!!'),
        carried('null', null),
      ],
    });
    assert.deepEqual(
      [...(inline ?? [])].map(([digest, bytes]) => [digest, Buffer.from(bytes).toString()]),
      [
        [blob('config').digest, 'config'],
        [blob('right').digest, 'right'],
        [blob('').digest, ''],
      ],
    );
    assert.deepEqual(layers[0], blob('right', 5));
    assert.equal(parseImage(image).inline, undefined);
  });

  test('of another schema version is refused', () => {
    invalid({ ...image, schemaVersion: 3 }, /"schemaVersion" is 3, must be 2/);
    invalid({ ...image, schemaVersion: '2' }, /"schemaVersion" is "2", must be 2/);
  });

  test('that is an index, too, is refused: clients could read it either way', () => {
    invalid({ ...image, manifests: [] }, /must not have "manifests" beside its layers/);
    invalid({ mediaType: OCI_INDEX, manifests: [], layers: [] }, /must not have "layers" or "config"/);
    invalid({ mediaType: OCI_INDEX, manifests: [], config: {} }, /must not have "layers" or "config"/);
  });

  test('keeps foreign layers apart, if they say where their bytes are', () => {
    const foreign = blob('windows', 9, FOREIGN);
    const layers = [
      { ...foreign, urls: ['https://example.test/layer'] },
      { ...blob('held', 8, FOREIGN), urls: [] },
      blob('own'),
    ];
    const parsed = parseImage({ ...image, layers });
    assert.deepEqual(parsed.foreignLayers, [foreign]);
    assert.deepEqual(parsed.layers, [blob('held', 8, FOREIGN), blob('own')]);
    // Any layer may have urls; they change nothing.
    assert.equal(
      parseImage({ ...image, layers: [{ ...blob('own'), urls: ['https://example.test'] }] }).layers.length,
      1,
    );
  });

  test('has at most as many descriptors as the limit', () => {
    const many = (n: number) => Array.from({ length: n }, (_, i) => blob(`layer ${i}`));
    assert.equal(parseImage({ ...image, layers: many(10) }).layers.length, 10);
    invalid({ ...image, layers: many(11) }, /"layers" has 11 entries, the limit is 10 \(limits\.fanOut/);
    invalid({ mediaType: OCI_ARTIFACT_MANIFEST, blobs: many(11) }, /"blobs" has 11 entries/);
    invalid({ mediaType: OCI_INDEX, manifests: many(11) }, /"manifests" has 11 entries/);
  });

  for (const [what, layer, message] of [
    ['no object', 'text', /"layers\[0\]" is not a descriptor/],
    ['null', null, /"layers\[0\]" is not a descriptor/],
    ['no digest', { size: 1 }, /"layers\[0\]\.digest" is missing/],
    [
      'a sha512 digest that is cut off',
      { ...blob('a'), digest: `sha512:${'0'.repeat(64)}` },
      /"layers\[0\]\.digest" is "sha512:0/,
    ],
    [
      'a digest of another algorithm',
      { ...blob('a'), digest: `sha384:${'0'.repeat(96)}` },
      /must be sha256:.* or sha512:/,
    ],
    [
      'a digest with upper case',
      { ...blob('a'), digest: blob('a').digest.toUpperCase() },
      /must be sha256:<64 lower-case/,
    ],
    ['no size', { digest: blob('a').digest }, /"layers\[0\]\.size" is missing/],
    ['a negative size', blob('a', -1), /"layers\[0\]\.size" is -1/],
    ['a broken size', blob('a', 1.5), /"layers\[0\]\.size" is 1\.5/],
    ['a size beyond counting', blob('a', 2 ** 53), /must be a whole number of bytes/],
    ['a size as text', { ...blob('a'), size: '10' }, /"layers\[0\]\.size" is "10"/],
    ['a size as a list', { ...blob('a'), size: [] }, /"layers\[0\]\.size" is a list/],
    ['a media type that is none', { ...blob('a'), mediaType: {} }, /"layers\[0\]\.mediaType" is not a string/],
    ['an endless media type', blob('a', 1, 'x'.repeat(256)), /of at most 255 characters/],
  ] as const) {
    test(`with a layer with ${what} is refused, by its place`, () => invalid({ ...image, layers: [layer] }, message));
  }

  test('may leave out a media type', () => {
    const { mediaType: _, ...untyped } = blob('a');
    assert.equal(parseImage({ ...image, layers: [untyped] }).layers[0]?.mediaType, 'application/octet-stream');
  });
});

describe('an index', () => {
  const of = (...manifests: unknown[]): Index => parseIndex({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });

  test('has entries with platforms, normalised', () => {
    const on = (platform: unknown) => of({ ...blob('m'), platform }).entries[0]?.platform;
    assert.deepEqual(on({ os: 'Linux', architecture: 'aarch64', variant: '8' }), {
      os: 'linux',
      architecture: 'arm64',
      variant: 'v8',
    });
    assert.deepEqual(on({ os: 'windows', architecture: 'amd64', 'os.version': '10.0' }), {
      os: 'windows',
      architecture: 'amd64',
    });
    assert.deepEqual(on({ os: 'linux', architecture: 'arm', variant: '' }), { os: 'linux', architecture: 'arm' });
    for (const none of [undefined, null, { os: 'unknown', architecture: 'unknown' }, { os: '', architecture: '' }]) {
      assert.equal(on(none), undefined);
    }
    const unknown = { os: 'unknown', architecture: 'unknown' };
    for (const bad of [{}, 'linux/amd64', [], 7, { os: 1, architecture: 2 }, { os: null, architecture: '' }]) {
      assert.deepEqual(on(bad), unknown);
    }
    assert.deepEqual(on({ os: 'linux' }), { ...unknown, os: 'linux' });
    assert.deepEqual(on({ os: 'linux', architecture: 'x'.repeat(65) }), { ...unknown, os: 'linux' });
    assert.deepEqual(on({ os: '', architecture: 'AMD64' }), { ...unknown, architecture: 'amd64' });
    const arm = { os: 'linux', architecture: 'arm' };
    assert.deepEqual(on({ ...arm, variant: 'v'.repeat(65) }), { ...arm, variant: 'unknown' });
    assert.deepEqual(on({ ...arm, variant: 7 }), arm);
  });

  test('keeps an entry that cannot be read, with what is wrong with it', () => {
    const right = { ...blob('right', 10, OCI_MANIFEST), platform: { os: 'linux', architecture: 'amd64' } };
    const on = (odd: unknown) => {
      const [first, second] = of(right, odd).entries;
      assert.deepEqual(first, right);
      return second;
    };
    const old = blob('old', 1, SCHEMA_1);
    const s390x = { os: 'linux', architecture: 's390x' };
    const schema1 = on({ ...old, platform: s390x });
    assert.match(schema1?.fault ?? '', /"manifests\[1\]" .*schema 1 manifest/);
    assert.ok(schema1?.fault?.includes(old.digest));
    assert.deepEqual({ ...schema1, fault: '' }, { ...old, platform: s390x, fault: '' });
    for (const [odd, fault] of [
      [null, /"manifests\[1\]" is not a descriptor/],
      ['text', /"manifests\[1\]" is not a descriptor/],
      [{ ...right, digest: 'md5:abc' }, /"manifests\[1\]\.digest" is "md5:abc"/],
      [{ ...right, digest: undefined }, /"manifests\[1\]\.digest" is missing/],
      [{ ...right, size: undefined }, /"manifests\[1\]\.size" is missing.* \(sha256:/],
      [{ ...right, size: -1 }, /"manifests\[1\]\.size" is -1/],
      [{ ...right, size: '10' }, /"manifests\[1\]\.size" is "10"/],
      [{ ...right, mediaType: 7 }, /"manifests\[1\]\.mediaType" is not a string/],
    ] as const) {
      const entry = on(odd);
      assert.match(entry?.fault ?? '', fault);
      const isObject = typeof odd === 'object' && odd !== null;
      assert.deepEqual(entry?.platform, isObject ? right.platform : { os: 'unknown', architecture: 'unknown' });
    }
  });

  test('knows attestations by their annotations', () => {
    const described = blob('described').digest;
    const annotated = (annotations: unknown) =>
      of({ ...blob('m'), platform: { os: 'unknown', architecture: 'unknown' }, annotations }).entries[0];
    const type = 'attestation-manifest';
    assert.equal(
      annotated({ 'vnd.docker.reference.type': type, 'vnd.docker.reference.digest': described })?.attests,
      described,
    );
    for (const other of [
      undefined,
      'text',
      { 'vnd.docker.reference.type': type },
      { 'vnd.docker.reference.type': type, 'vnd.docker.reference.digest': 'sha256:abc' },
      { 'vnd.docker.reference.digest': described },
    ]) {
      assert.deepEqual(annotated(other), blob('m'));
    }
  });

  test('must have a list of manifests', () => {
    invalid({ mediaType: OCI_INDEX }, /"manifests" is not a list/);
    invalid({ mediaType: OCI_INDEX, manifests: {} }, /"manifests" is not a list/);
    assert.deepEqual(of().entries, []);
  });
});

describe('blobs of a manifest', () => {
  test('come config first, each once', () => {
    const layers = [blob('b'), blob('a'), blob('b')];
    assert.deepEqual(blobsOf(parseImage({ ...image, layers })), [image.config, blob('b'), blob('a')]);
    assert.deepEqual(blobsOf(parseImage({ ...image, config: undefined, layers: [] })), []);
  });

  test('must not contradict each other in size', () => {
    const twice = parseImage({ ...image, layers: [blob('a', 1), blob('a', 2)] });
    assert.throws(() => blobsOf(twice), { name: 'InvalidManifestError', message: /two sizes, 1 and 2/ });
  });
});

test('the platform of a config', () => {
  const of = (config: unknown) => platformOfConfig(bytesOf(config));
  assert.deepEqual(of({ os: 'linux', architecture: 'arm64', variant: 'v8', rootfs: {} }), {
    os: 'linux',
    architecture: 'arm64',
    variant: 'v8',
  });
  assert.equal(of({}), undefined);
  assert.equal(of({ os: 'linux' }), undefined);
  assert.equal(of({ os: 'unknown', architecture: 'unknown' }), undefined);
  for (const stated of ['no JSON', '', '[]', 'null', '7', '"linux/amd64"', 'os: linux\n', '{"os":"linux"', [], null]) {
    assert.equal(of(stated), undefined);
  }
  for (const [os, architecture] of [
    [1, 'amd64'],
    ['linux', null],
    ['linux', ''],
    ['', 'amd64'],
    ['linux', 'x'.repeat(65)],
  ]) {
    assert.equal(of({ os, architecture }), undefined);
  }
  const latin1 = Buffer.from('{"os":"linux","architecture":"amd64","author":"M\u00fcller"}', 'latin1');
  assert.deepEqual(platformOfConfig(latin1), { os: 'linux', architecture: 'amd64' });
  fc.assert(fc.property(fc.jsonValue(), (json) => void of(json)));
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void platformOfConfig(bytes)));
});

describe('what nothing calls a manifest', () => {
  const any = (document: unknown, contentType?: string) => parseAnyManifest(bytesOf(document), contentType, LIMITS);
  const image = { schemaVersion: 2, config: blob('config'), layers: [blob('layer')] };
  const UNKNOWN = 'application/vnd.example.unknown.v1+json';

  for (const [what, document, contentType, mediaType] of [
    ['of an unknown type', { a: 1 }, UNKNOWN, UNKNOWN],
    ['of an unknown type with parameters', { a: 1 }, `${UNKNOWN}; charset=utf-8`, UNKNOWN],
    ['of an unknown type of its own', { ...image, mediaType: UNKNOWN }, undefined, UNKNOWN],
    ['of an unknown type of its own under a known one', { mediaType: UNKNOWN, layers: 1 }, OCI_MANIFEST, UNKNOWN],
    ['of an unknown type that looks like an image', image, UNKNOWN, UNKNOWN],
    ['no JSON', '<html>', 'text/html', 'text/html'],
    ['no JSON of no type', '<html>', undefined, OCTET_STREAM],
    ['no object', '[]', UNKNOWN, UNKNOWN],
    ['without anything', '{}', undefined, OCTET_STREAM],
    ['of a type that no header can have', { mediaType: 'a/b\r\nc: d' }, undefined, OCTET_STREAM],
    ['of a type that is no type', { mediaType: 'x'.repeat(300) }, UNKNOWN, OCTET_STREAM],
  ] as const) {
    test(`${what} is kept as it is`, () => {
      const parsed = any(document, contentType);
      assert.deepEqual(parsed, { kind: 'manifest', mediaType, opaque: true, layers: [], foreignLayers: [] });
    });
  }

  for (const [what, document, contentType] of [
    ['by its own type', { ...image, mediaType: OCI_MANIFEST }, UNKNOWN],
    ['by the type of the answer', image, OCI_MANIFEST],
    ['by its fields', image, undefined],
    ['by its fields under a type that says nothing', image, 'application/json'],
  ] as const) {
    test(`an image ${what} is one`, () => assert.deepEqual(any(document, contentType), parse(document, OCI_MANIFEST)));
  }

  test('an index by its fields is one', () => {
    const document = { schemaVersion: 2, manifests: [blob('child')] };
    assert.deepEqual(any(document, 'text/plain'), parse(document, OCI_INDEX));
  });

  for (const [what, document, contentType] of [
    ['a broken image', { ...image, layers: [{}] }, OCI_MANIFEST],
    ['a broken image by its fields', { ...image, layers: [{}] }, undefined],
    ['schema 1', { schemaVersion: 1, name: 'x' }, undefined],
    ['schema 1 by its type', { a: 1 }, SCHEMA_1],
    ['no JSON under the type of an image', '<html>', OCI_MANIFEST],
  ] as const) {
    test(`${what} is invalid`, () => {
      assert.throws(() => any(document, contentType), { name: 'InvalidManifestError' });
    });
  }
});
