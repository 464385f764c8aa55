import type { Pointer } from '../catalog/catalog.ts';
import {
  CacheError,
  CredentialsError,
  DeadlineError,
  DeniedError,
  ManifestUnknownError,
} from '../errors/cache-error.ts';
import type { Digest } from '../oci/digest.ts';
import { globs } from '../reference/globs.ts';
import { formatRepository, type Reference } from '../reference/reference.ts';
import type { Freshness, FreshnessRule } from './settings.ts';

/** The policy of each reference: that of the first rule that matches. */
export function freshnessOf(rules: readonly FreshnessRule[]): (reference: Reference) => Freshness {
  const compiled = rules.map(({ repositories, tags, freshness }) => ({
    matchesRepository: globs(repositories),
    matchesTag: tags.length === 0 ? () => true : globs(tags),
    freshness,
  }));
  return ({ repository, tag = '' }) => {
    const name = formatRepository(repository);
    const rule = compiled.find((one) => one.matchesRepository(name) && one.matchesTag(tag));
    if (rule === undefined) throw new TypeError('no freshness rule matches everything');
    return rule.freshness;
  };
}

/** Whether the cache may answer for a tag by its policy. */
export type FreshnessVerdict =
  /** Served without asking the registry. */
  | { readonly kind: 'fresh'; readonly digest: Digest }
  /** The registry said a moment ago that the tag does not exist. {@link staleOf} decides what may be served nevertheless. */
  | { readonly kind: 'missing' }
  /** The registry must be asked. */
  | { readonly kind: 'unknown' };

export function verdictOf(pointer: Pointer | undefined, freshness: Freshness, nowMs: number): FreshnessVerdict {
  const { resolved, published, checkedMs = 0, missingMs } = pointer ?? {};
  const digest = resolved ?? published;
  if (missingMs !== undefined && nowMs < missingMs + freshness.notFoundMs) return { kind: 'missing' };
  // A clock that is ahead of ours must not make a tag fresh for ever.
  if (digest !== undefined && Math.abs(nowMs - checkedMs) < freshness.ttlMs) return { kind: 'fresh', digest };
  return { kind: 'unknown' };
}

/** What is served although the registry could not confirm it. */
export interface Stale {
  /** In the order in which they are tried: what is published, what the registry said last, what was published before. */
  readonly digests: readonly Digest[];
  /** The value of the header `Warning` (RFC 7234, section 5.5). */
  readonly warning: string;
}

/** What may be served in place of an answer that failed; undefined where the failure is the answer. */
export function staleOf(
  pointer: Pointer | undefined,
  freshness: Freshness,
  failure: unknown,
  nowMs: number,
): Stale | undefined {
  const { resolved, published, previous, checkedMs = 0 } = pointer ?? {};
  // What is published comes first: what was only resolved may not be stored, and cannot be fetched while its registry fails.
  const known = [published, resolved, previous].filter((digest) => digest !== undefined);
  const digests = [...new Set(known)];
  if (digests.length === 0 || !(failure instanceof CacheError)) return undefined;
  const ageMs = nowMs - checkedMs;
  if (failure instanceof ManifestUnknownError) {
    return freshness.keepOnNotFound ? { digests, warning: '110 entrepot "Response is Stale"' } : undefined;
  }
  if (failure instanceof DeniedError) {
    return ageMs < freshness.maxStaleOnDeniedMs
      ? { digests, warning: '111 entrepot "Revalidation Failed"' }
      : undefined;
  }
  // Any other failure on the way to an answer: a broken answer, missing credentials, a held lock.
  const passes =
    failure.origin === 'upstream' ||
    failure.origin === 'lock' ||
    failure instanceof DeadlineError ||
    failure instanceof CredentialsError;
  return passes && ageMs < freshness.staleIfErrorMs
    ? { digests, warning: '111 entrepot "Revalidation Failed"' }
    : undefined;
}
