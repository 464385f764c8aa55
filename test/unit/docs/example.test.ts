import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { ROOT } from '../../../infra/bundles.ts';
import { loadConfig, type Config } from '../../../lib/config/config.ts';
import { ConfigError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';

const folder = mkdtempSync(join(tmpdir(), 'entrepot-example-'));
after(() => rmSync(folder, { recursive: true, force: true }));
writeFileSync(join(folder, 'ca.pem'), selfSigned().cert);

const lines = readFileSync(join(ROOT, 'entrepot.example.yaml'), 'utf8').split('\n');
/** A key that is not set: "#key:" without a space. */
const UNSET = /^( *)#(?=[A-Za-z]+:)/;
const unset = lines.flatMap((line, i) => (UNSET.test(line) ? [i] : []));
/** The example with the "#" of these lines taken away. */
const exampleWith = (set: readonly number[]): string =>
  lines.map((line, i) => (set.includes(i) ? line.replace(UNSET, '$1') : line)).join('\n');

/** Checked as for packaging. */
function load(text: string): Config {
  const path = join(folder, 'entrepot.yaml');
  writeFileSync(path, text);
  return loadConfig({ ENTREPOT_CONFIG: path }, folder, { target: 'aws' });
}

function problemsOf(text: string): string {
  try {
    load(text);
    return '';
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

type Path = readonly (string | number)[];

/** Where the maps of a document are. */
function mapsOf(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [];
  const parts = Object.entries(value).flatMap(([key, part]) =>
    mapsOf(part, [...path, Array.isArray(value) ? Number(key) : key]),
  );
  return Array.isArray(value) ? parts : [path, ...parts];
}

const mapAt = (document: unknown, path: Path): Record<string, unknown> =>
  path.reduce<unknown>((value, key) => (value as Record<string | number, unknown>)[key], document) as Record<
    string,
    unknown
  >;

/** The keys that the schema knows for the map at a path: those that it names when it refuses another one. */
function knownKeys(text: string, path: Path): readonly string[] | undefined {
  const document: unknown = parse(text);
  mapAt(document, path).unknownKey = 1;
  const [, names] = /unknownKey: unknown key; the known ones are ([^;\n]+)/.exec(problemsOf(stringify(document))) ?? [];
  return names?.split(', ');
}

test('the example is a valid configuration as it stands, with each unset key set, and with all of them', () => {
  assert.ok(unset.length > 20);
  assert.equal(problemsOf(exampleWith([])), '');
  for (const line of unset) assert.equal(problemsOf(exampleWith([line])), '', lines[line]);
  assert.equal(problemsOf(exampleWith(unset)), '');
});

test('the example has every section and key of the schema', () => {
  const text = exampleWith(unset);
  const document: unknown = parse(text);
  /** By the keys of a kind of map: those that the example has, of all its maps of that kind. */
  const kinds = new Map<string, Set<string>>();
  for (const path of mapsOf(document)) {
    const known = knownKeys(text, path);
    if (known === undefined) continue;
    const kind = known.join(', ');
    const there = kinds.get(kind) ?? new Set();
    for (const key of Object.keys(mapAt(document, path))) there.add(key);
    kinds.set(kind, there);
  }
  // The file, a registry, limits, access, jwt, its claim, a rule, a warm-up, an entry, its tags, events, serve, a rule of freshness.
  assert.equal(kinds.size, 13, [...kinds.keys()].join('\n'));
  for (const [kind, there] of kinds) {
    const missing = kind.split(', ').filter((key) => !there.has(key));
    assert.deepEqual(missing, [], `of ${kind}`);
  }
  // Of these the schema names no keys.
  assert.deepEqual(Object.keys(mapAt(document, ['mirrors', 0])).toSorted(), ['endpoint', 'registries']);
  assert.match(text, /credentials: \{ secret: .*credentials: \{ ecr: \{ roleArn: .* externalId: /s);
});

test('the limits of the example are the defaults', () => {
  assert.deepEqual(load(exampleWith(unset)).limits, load('registries: { quay.io: {} }').limits);
});

test('the configuration in the README is a valid one', () => {
  const [, text] = /```yaml\n([^]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
  assert.equal(problemsOf(text ?? assert.fail('the README has none')), '');
});
