import semver, { type SemVer } from 'semver';
import { globs } from '../reference/globs.ts';
import type { TagRule } from './warmup-settings.ts';

/*
 * Tags are not semver: there, `1.25.3-alpine` would be a pre-release of 1.25.3. So a tag is parsed as
 *
 *   [v] major [.minor [.patch]] [rest]         1.25   v1.2.3   1.25.3-alpine3.18   3.13.0rc2-slim   2024.01.15
 *
 * - `rest` begins with "-", "_", "+" or ".", or is a word for a pre-release. Anything else is not a version: `12abc`, `latest`.
 * - `rest` that begins with such a word (alpha, beta, rc, …) makes the tag a pre-release. Any other is a variant and ignored: `1.25.3-alpine` is
 *   as high as `1.25.3`. The glob of the rule selects variants.
 * - Parts that are missing are 0. A major number of six digits and more is a date or a build: `20240923`, `1234567`.
 */
const VERSION = /^v?(\d{1,5})(?:\.(\d{1,15}))?(?:\.(\d{1,15}))?(?!\d)(.*)$/is;
const BEFORE_RELEASE =
  /^[-_.+]?((?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|milestone|ea|m(?=\d))(?![a-z]).*)$/is;
const IS_REST = /^(?:[-_+.]|$)/;

/** The version of the tag without its variant; undefined if the tag is not a version. */
export function versionOf(tag: string): SemVer | undefined {
  const [, major, minor = '0', patch = '0', rest = ''] = VERSION.exec(tag) ?? [];
  if (major === undefined) return undefined;
  const [, early] = BEFORE_RELEASE.exec(rest) ?? [];
  if (early === undefined && !IS_REST.test(rest)) return undefined;
  // semver accepts no leading zeros, and only some characters in identifiers.
  const core = [major, minor, patch].map(Number).join('.');
  const words = early?.replace(/[^0-9A-Za-z-]+/g, '.').replace(/^\.|\.$/g, '');
  return semver.parse(words === undefined ? core : `${core}-${words}`, { loose: true }) ?? undefined;
}

/** Digits are compared as numbers: `build-12` is above `build-9`. Does not depend on the locale of the process. */
const natural = new Intl.Collator('en', { numeric: true });

interface Candidate {
  readonly tag: string;
  readonly version: SemVer | undefined;
}

/**
 * The tags that match the rule, from the highest version down, a version before its variants. Without a range in the rule, then those that are not versions, in
 * natural order, the highest first. A pre-release matches a range only if the range names one of the same version, as semver has it.
 */
export function chooseTags(tags: readonly string[], { glob, semver: versions, newest }: TagRule): string[] {
  const matches = glob === undefined ? () => true : globs([glob]);
  const range = versions === undefined ? undefined : new semver.Range(versions, { loose: true });
  return tags
    .filter((tag) => matches(tag))
    .map((tag): Candidate => ({ tag, version: versionOf(tag) }))
    .filter(({ version }) => range === undefined || (version !== undefined && range.test(version)))
    .sort(byHeight)
    .slice(0, newest)
    .map(({ tag }) => tag);
}

const isPlain = ({ tag }: Candidate): boolean => /^v?[\d.]+$/i.test(tag);

function byHeight(a: Candidate, b: Candidate): number {
  if (a.version === undefined || b.version === undefined) {
    return Number(b.version !== undefined) - Number(a.version !== undefined) || natural.compare(b.tag, a.tag);
  }
  return (
    semver.rcompare(a.version, b.version) || Number(isPlain(b)) - Number(isPlain(a)) || natural.compare(b.tag, a.tag)
  );
}
