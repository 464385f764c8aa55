import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../../infra/bundles.ts';

/** Two screens. A longer page begins with a table of contents. */
const MOST_LINES = 100;
const MOST_COLUMNS = 160;
/** The table of contents is above this line. */
const TOP_LINES = 60;
/** Made by `npm run cost`. */
const GENERATED = join('docs', 'cost.md');

const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
const pages = ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => join('docs', name))].filter((page) =>
  page.endsWith('.md'),
);

const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8');
const linesOf = (text: string): string[] => text.trimEnd().split('\n');

/** The lines outside fenced code; those in it are empty, so that numbers of lines stay. */
function prose(text: string): string[] {
  let fenced = false;
  return linesOf(text).map((line) => {
    const isFence = /^\s*```/.test(line);
    if (isFence) fenced = !fenced;
    return fenced || isFence ? '' : line;
  });
}

/** The heading's address on GitHub: lower case, no punctuation but "-" and "_", spaces as "-". */
const slugOf = (heading: string): string =>
  heading
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

interface Heading {
  readonly level: number;
  readonly slug: string;
}

function headingsOf(text: string): readonly Heading[] {
  const times = new Map<string, number>();
  return prose(text).flatMap((line): Heading[] => {
    const [, marks, title] = /^(#{1,6}) (.+)$/.exec(line) ?? [];
    if (marks === undefined || title === undefined) return [];
    const slug = slugOf(title);
    const before = times.get(slug) ?? 0;
    times.set(slug, before + 1);
    return [{ level: marks.length, slug: before === 0 ? slug : `${slug}-${before}` }];
  });
}

/** Where the links of a page lead, but for those to other sites. Code has none. */
const linksOf = (text: string): string[] =>
  [
    ...prose(text)
      .join('\n')
      .replaceAll(/`[^`\n]*`/g, 'code')
      .matchAll(/\]\(([^)\s]+)\)/g),
  ].flatMap(([, target = '']) => (/^[a-z]+:/.test(target) ? [] : [target]));

/** What is wrong with a link of a page; undefined where it leads somewhere. */
function brokenLink(page: string, link: string): string | undefined {
  const [path = '', fragment] = link.split('#');
  const target = path === '' ? join(ROOT, page) : resolve(ROOT, dirname(page), path);
  if (!existsSync(target)) return `${page}: ${link}: no such file`;
  if (fragment === undefined) return undefined;
  const there = headingsOf(read(relative(ROOT, target))).some(({ slug }) => slug === fragment);
  return there ? undefined : `${page}: ${link}: no such heading`;
}

test('every link between pages leads to a file and a heading that are there', () => {
  const links = pages.flatMap((page) => linksOf(read(page)).map((link) => ({ page, link })));
  assert.ok(links.length > 100, `${links.length} links were found`);
  assert.deepEqual(
    links.map(({ page, link }) => brokenLink(page, link)).filter((problem) => problem !== undefined),
    [],
  );
});

test('a link to a file or heading that is missing is found', () => {
  assert.match(brokenLink('README.md', 'docs/nothing.md') ?? '', /no such file/);
  assert.match(brokenLink('README.md', 'docs/design.md#nothing') ?? '', /no such heading/);
  assert.match(brokenLink('docs/design.md', '#nothing') ?? '', /no such heading/);
  assert.equal(brokenLink('docs/design.md', 'decisions'), undefined);
});

test('every file and folder of the project that a page names is there', () => {
  const named = pages.flatMap((page) =>
    [...read(page).matchAll(/`((?:lib|infra|functions|test)\/[\w./-]+)`/g)].map(([, path = '']) => ({ page, path })),
  );
  assert.ok(named.length > 100, `${named.length} paths were found`);
  assert.deepEqual(
    named.filter(({ path }) => !existsSync(join(ROOT, path))),
    [],
  );
});

test('docs/configuration.md has every variable that the code reads', () => {
  const page = read('docs/configuration.md');
  const sources = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.(?:ts|js)$/.test(name),
  );
  const variables = new Set(
    sources.flatMap((name) => [...read(join('lib', name)).matchAll(/\bENTREPOT_[A-Z_]+\b/g)].map(([found]) => found)),
  );
  assert.ok(variables.has('ENTREPOT_CONFIG') && variables.size > 5);
  assert.deepEqual(
    [...variables].filter((name) => !page.includes(`\`${name}\``)),
    [],
  );
});

test(`a page of more than ${MOST_LINES} lines links to each of its sections at its top`, () => {
  const long = pages.filter((page) => linesOf(read(page)).length > MOST_LINES);
  assert.ok(long.length > 5);
  const missing = long.flatMap((page) => {
    const top = new Set(linksOf(linesOf(read(page)).slice(0, TOP_LINES).join('\n')));
    const sections = headingsOf(read(page)).filter(({ level }) => level === 2);
    return sections.filter(({ slug }) => !top.has(`#${slug}`)).map(({ slug }) => `${page}: #${slug}`);
  });
  assert.deepEqual(missing, []);
});

test(`no line is longer than ${MOST_COLUMNS} columns, but in tables and code`, () => {
  const tooLong = pages.flatMap((page) =>
    prose(read(page)).flatMap((line, i) =>
      !line.startsWith('|') && Array.from(line).length > MOST_COLUMNS ? [`${page}:${i + 1}`] : [],
    ),
  );
  assert.deepEqual(tooLong, []);
});

test('docs/README.md names every page', () => {
  const named = new Set(linksOf(read('docs/README.md')));
  const topPages = docs.filter((name) => name.endsWith('.md') && !name.includes('/') && name !== 'README.md');
  assert.ok(topPages.length > 10);
  assert.deepEqual(
    topPages.filter((name) => !named.has(name)),
    [],
  );
});

test('the README has at most 1,500 words, and its dollars are those of docs/cost.md', () => {
  const readme = read('README.md');
  assert.ok(readme.split(/\s+/).length <= 1_500);
  const cost = read(GENERATED);
  const rows = linesOf(readme).filter((line) => /^\| (?:\*\*Entrepot|ECR|a t4g)/.test(line));
  const figures = rows.flatMap((row) => [...row.matchAll(/\d[\d,]*\.\d\d/g)].map(([figure]) => figure));
  assert.equal(figures.length, 9);
  assert.deepEqual(
    figures.filter((figure) => !new RegExp(`[ *]${figure.replace('.', '\\.')}[ *]`).test(cost)),
    [],
  );
});
