import { type Digest, hexOf } from '../oci/digest.ts';
import { formatRepository, pointerOf, type Reference, type Repository } from '../reference/reference.ts';

/*
 * The table, drawn once. All keys are strings; times are epoch milliseconds.
 *
 *   kind   pk                           sk                     attributes
 *   ─────  ───────────────────────────  ─────────────────────  ──────────────────────────────────────────────────────────────────
 *   TAG    TAG#<registry>/<repository>  <tag> or @<digest>     resolved, checkedMs, resolutions, resolvedBy, published, publishedMs, publishedBy, previous, missingMs,
 *                                                             generation, incarnation, recorded; expiresSeconds where there is missingMs alone;
 *                                                             once it is removed: generation, incarnation, resolutions, removedMs, expiresSeconds
 *          TAG#<registry>/<repository>  referrers:<digest>     resolved (the list of what refers to that manifest), checkedMs
 *   ROOT   ROOT#<digest>                ROOT                   mediaType, size, entries (deflated), contents{}, foreign{}, usedDay
 *          ROOT#<digest>                COMPLETE               complete{}: entries of that root, and foreign layers, whose content was all present at epoch `stamp`
 *   CHILD  CHILD#<digest>               CHILD                  needs (packed): the configs and layers of that manifest; none where an index lists a blob
 *   LINK   LINK#<registry>/<repository> <digest>               mediaType, size, landed, via, neededBy
 *          LINK#<registry>/<repository> root:<digest>          complete{}: entries and foreign layers of that root that this repository may serve;
 *                                                             skipped{}: those that its registry does not have
 *          LINK#<registry>/<repository> need:<digest>          neededBy: a manifest or index of the repository; the digest itself need not be linked
 *   BLOB   BLOB#<digest>                BLOB                   size, state, commit, domains{}, etag, crc32, checkpoint, committedBy, + lease
 *   LOCK   LOCK#<reference>             LOCK                   + lease, expiresSeconds while it is free
 *          LOCK#fetch:<reg>/<repo>@<d>  LOCK                   the same, held while that manifest is fetched
 *   REPO   REPO                         <registry>/<repository>
 *   EPOCH  EPOCH#<0 to f>               EPOCH                  epoch: how often content was found to be lost, for the roots with that first digit
 *   KEY    KEY                          KEY                    publicKey: of the passwords that POST /v1/token mints, expiresSeconds
 *   INCARNATION INCARNATION             INCARNATION            number: of this table among all that ever were on its bucket (refs/incarnation.json)
 *   PULL   PULL#<id>                    PULL                   request, state, createdMs, updatedMs, startedMs, plannedMs, endedMs, plans, lock, planned,
 *                                                              done{batch: [blobs, bytes]}, receipt (deflated), failure, expiresSeconds
 *   ACTIVE ACTIVE#<hash of the request> ACTIVE                 pullId: the pull under way for that reference, platforms, attestations and alwaysPull;
 *                                                              failedId: the last one, if it failed; expiresSeconds
 *   WARMUP WARMUP#<name>                <scheduled time>       summary (deflated) of a run that ended, announced, expiresSeconds, + lease
 *   WAITING WAITING#<shard>             <period of 30 s>       callers of the registry endpoint that came in it and wait for a blob, expiresSeconds
 *
 *   + lease: holder, generation, version, durationMs, leaseUntilMs. A claim on a blob is a lease on its BLOB row.
 *
 * A hit reads TAG, then ROOT, COMPLETE, LINK root:… and EPOCH in one BatchGet.
 */

export interface Key {
  readonly pk: string;
  readonly sk: string;
}

export const NOBODY = '-';

/**
 * Partitions that the endpoint's function may write, as IAM matches `dynamodb:LeadingKeys`: locks, pulls and
 * waiting callers. None of them decides what a repository serves.
 */
export const ENDPOINT_PARTITIONS: readonly string[] = ['LOCK#*', 'PULL#*', 'ACTIVE#*', 'WAITING#*'];

export const tagKey = (reference: Reference): Key => ({
  pk: `TAG#${formatRepository(reference.repository)}`,
  sk: pointerOf(reference),
});
export const tagPartition = (repository: Repository): string => `TAG#${formatRepository(repository)}`;
export const rootKey = (digest: Digest): Key => ({ pk: `ROOT#${digest}`, sk: 'ROOT' });
export const completeKey = (root: Digest): Key => ({ pk: `ROOT#${root}`, sk: 'COMPLETE' });
export const linkKey = (repository: Repository, digest: Digest): Key => ({
  pk: `LINK#${formatRepository(repository)}`,
  sk: digest,
});
export const rootLinkKey = (repository: Repository, root: Digest): Key => ({
  pk: `LINK#${formatRepository(repository)}`,
  sk: `root:${root}`,
});
export const needKey = (repository: Repository, digest: Digest): Key => ({
  pk: `LINK#${formatRepository(repository)}`,
  sk: `need:${digest}`,
});
export const blobKey = (digest: Digest): Key => ({ pk: `BLOB#${digest}`, sk: 'BLOB' });
export const childKey = (digest: Digest): Key => ({ pk: `CHILD#${digest}`, sk: 'CHILD' });
export const REPO_PARTITION = 'REPO';
export const repoKey = (repository: Repository): Key => ({ pk: REPO_PARTITION, sk: formatRepository(repository) });
/** The repository of a REPO row's `sk`. */
export function repositoryOf(sk: string): Repository {
  const slash = sk.indexOf('/');
  return { registry: sk.slice(0, slash), path: sk.slice(slash + 1) };
}
export const pullKey = (id: string): Key => ({ pk: `PULL#${id}`, sk: 'PULL' });
/** `request` is a hash of all that makes two requests the same. */
export const activeKey = (request: string): Key => ({ pk: `ACTIVE#${request}`, sk: 'ACTIVE' });
export const warmupKey = (name: string, scheduledTime: string): Key => ({ pk: `WARMUP#${name}`, sk: scheduledTime });
export const waitingKey = (shard: number, period: number): Key => ({ pk: `WAITING#${shard}`, sk: String(period) });
export const PASSWORD_KEY: Key = { pk: 'KEY', sk: 'KEY' };
export const INCARNATION_KEY: Key = { pk: 'INCARNATION', sk: 'INCARNATION' };

/** Every loss moves all of them in one transaction; a publish reads and checks the one of its root. */
const SHARDS = 16;
const shardKey = (shard: string): Key => ({ pk: `EPOCH#${shard}`, sk: 'EPOCH' });
export const epochKeys: readonly Key[] = Array.from({ length: SHARDS }, (_, i) => shardKey(i.toString(16)));
/** The shard of a root: the first hexadecimal digit of its digest. */
export const epochKey = (root: Digest): Key => shardKey(hexOf(root).charAt(0));

const PULL = 'pull:';
const BLOB = 'blob:';
const WARMUP = 'warmup:';
const FETCH = 'fetch:';
const LOCK = 'LOCK';

/** The name of the lease that one pull of the reference holds. */
export const pullLeaseName = (reference: Reference): string =>
  `${PULL}${formatRepository(reference.repository)}:${pointerOf(reference)}`;

/** The name of the lease that is held while one manifest is fetched by its digest. */
export const fetchLeaseName = (repository: Repository, digest: Digest): string =>
  `${FETCH}${formatRepository(repository)}@${digest}`;

/** The name of the claim for copying the blob. */
export const blobLeaseName = (digest: Digest): string => `${BLOB}${digest}`;

/** The name of the lease for one run of a warm-up, held by one delivery of its event. */
export const warmupLeaseName = (name: string, scheduledTime: string): string => `${WARMUP}${name}/${scheduledTime}`;

/** A row that is nothing but a lease. */
export const isLockRow = ({ sk }: Key): boolean => sk === LOCK;

/** The row that a lease lives on. */
export function leaseKey(name: string): Key {
  if (name.startsWith(WARMUP)) {
    const slash = name.indexOf('/');
    return warmupKey(name.slice(WARMUP.length, slash), name.slice(slash + 1));
  }
  if (name.startsWith(BLOB)) return { pk: `BLOB#${name.slice(BLOB.length)}`, sk: 'BLOB' };
  return { pk: `LOCK#${name.startsWith(PULL) ? name.slice(PULL.length) : name}`, sk: LOCK };
}
