import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/* The house of docs/design.md, section 7, as far as lint does not hold it. */

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MAX_LINES = 300;
/** The launcher knows its three programs by this name. */
const ENTRY_POINT = 'main';

const filesBelow = (folder: string): readonly string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));

const sources = (...folders: string[]): ReadonlyMap<string, string> =>
  new Map(folders.flatMap(filesBelow).map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));

const IMPORT = /^(?:import|export)\s+(?<type>type\s)?(?<what>[^;]*?)\sfrom '(?<from>\.[^']+)'/gm;

/** The files whose code runs when `file` is imported; types are gone by then. */
function importedBy(file: string, source: string): readonly string[] {
  const isType = (name: string): boolean => name.trim() === '' || name.trim().startsWith('type ');
  return [...source.matchAll(IMPORT)].flatMap(({ groups }) => {
    const { type, what = '', from = '' } = groups ?? {};
    const names = /^\{(.*)\}$/s.exec(what)?.[1]?.split(',');
    return type !== undefined || names?.every(isType) === true ? [] : [join(dirname(file), from)];
  });
}

/** A way that leads from a file back to itself; undefined where there is none. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>();
  const walk = (file: string, way: readonly string[]): readonly string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const next of imports.get(file) ?? []) {
      const circle = walk(next, [...way, file]);
      if (circle !== undefined) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = walk(file, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test('no file imports itself, by whatever way', () => {
  const files = sources('lib', 'infra', 'functions');
  const imports = new Map([...files].map(([file, source]) => [file, importedBy(file, source)]));
  assert.ok([...imports.values()].flat().length > 500, 'the imports were found');
  assert.deepEqual(circleIn(imports), undefined);
  assert.deepEqual(circleIn(new Map(Object.entries({ a: ['b'], b: ['c', 'd'], c: [], d: ['b'] }))), ['b', 'd', 'b']);
});

test('no file imports itself on demand', () => {
  for (const [file, source] of sources('lib', 'infra', 'functions')) {
    for (const [, from = ''] of source.matchAll(/\bimport\('(\.[^']+)'\)/g))
      assert.notEqual(join(dirname(file), from), file);
  }
});

test('no file is longer than one can read at a time', () => {
  const long = [...sources('lib', 'infra', 'functions')]
    .map(([file, source]) => [file, source.split('\n').length - 1] as const)
    .filter(([, lines]) => lines > MAX_LINES);
  assert.deepEqual(long, []);
});

test('an exported name occurs once in lib', () => {
  const files = new Map<string, string[]>();
  const EXPORT = /^export (?:abstract |async )*(?:interface|class|function\*?|const|type) (\w+)/gm;
  for (const [file, source] of sources('lib')) {
    for (const [, name = ''] of source.matchAll(EXPORT)) files.set(name, [...(files.get(name) ?? []), file]);
  }
  assert.ok(files.size > 500, 'the exports were found');
  const several = [...files].filter(([name, those]) => those.length > 1 && name !== ENTRY_POINT);
  assert.deepEqual(several, []);
});
