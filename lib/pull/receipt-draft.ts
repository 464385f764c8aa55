import type { Root } from '../catalog/catalog.ts';
import { bareEntries, contentIdOf } from '../catalog/needs.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isImageEntry, platformName } from '../oci/select.ts';
import { formatReference, type Reference } from '../reference/reference.ts';
import type { RequestCounts } from '../registry/upstream.ts';
import type { Coverage } from './coverage.ts';
import type { Plan } from './plan.ts';
import { distinctSkipped, withoutSkipped } from './skipped.ts';
import { NO_REQUESTS, type BlobTally, type Receipt, type ReceiptPlatform, type SkippedContent } from './receipt.ts';

type Outcome = Exclude<keyof BlobTally, 'total'>;

/** A receipt while its pull is under way, so that a pull that is stopped can still say what it did. */
export interface ReceiptDraft {
  /** What the reference means. */
  resolved(root: Descriptor): void;
  /** The blobs that the pull wants, and what it leaves out because the registry does not have it. */
  planned(plan: Pick<Plan, 'blobs' | 'selected' | 'skipped'>): void;
  /**
   * How a blob got here. A copy replaces `present`, and is not replaced: a config that was copied early is
   * found present later.
   */
  blob(blob: Descriptor, outcome: Outcome): void;
  /** The registry does not have this blob: it is left out, and `skipped` is what the receipt says of it. */
  absent(blob: Descriptor, skipped?: readonly SkippedContent[]): void;
  /** The platforms as they are now. */
  covered(coverage: Pick<Coverage, 'entries'>): void;
  /** The reason if the record of the publication could not be written to the bucket. */
  recorded(problem: string | undefined): void;
  finish(outcome: Receipt['outcome'], requests?: Readonly<RequestCounts>): Receipt;
}

export function receiptDraft(reference: Reference, nowMs: () => number = () => performance.now()): ReceiptDraft {
  const startedMs = nowMs();
  const outcomes = new Map<Digest, { size: number; outcome: Outcome }>();
  let root: Descriptor | undefined;
  let blobs: readonly Descriptor[] = [];
  let platforms: readonly ReceiptPlatform[] = [];
  let skipped: readonly SkippedContent[] = [];
  let recordError: string | undefined;
  return {
    resolved(found): void {
      root = found;
    },
    planned(plan): void {
      ({ blobs, skipped } = plan);
      platforms = platformsOf(plan.selected.map((entry) => ({ entry, complete: false })));
    },
    blob({ digest, size }, outcome): void {
      if ((outcomes.get(digest)?.outcome ?? 'present') === 'present') outcomes.set(digest, { size, outcome });
    },
    absent(blob, more = []): void {
      blobs = blobs.filter(({ digest }) => digest !== blob.digest);
      skipped = distinctSkipped([...skipped, ...more]);
    },
    covered(coverage): void {
      platforms = platformsOf(coverage.entries);
    },
    recorded(problem): void {
      recordError = problem;
    },
    finish(outcome, requests = NO_REQUESTS): Receipt {
      const all = [...outcomes.values()];
      // A pull that was stopped before its plan was ready may have brought a config: it counts as wanted, too.
      const wanted = new Map<Digest, { readonly size: number }>([
        ...outcomes,
        ...blobs.map((blob) => [blob.digest, blob] as const),
      ]);
      const tally = (weigh: (one: { size: number }) => number): BlobTally => {
        const of = (kind: Outcome): number =>
          all.reduce((sum, one) => sum + (one.outcome === kind ? weigh(one) : 0), 0);
        return {
          total: [...wanted.values()].reduce((sum, one) => sum + weigh(one), 0),
          present: of('present'),
          copied: of('copied'),
          copiedElsewhere: of('copiedElsewhere'),
        };
      };
      return {
        reference: formatReference(reference),
        digest: root?.digest ?? null,
        mediaType: root?.mediaType ?? null,
        outcome,
        platforms: withoutSkipped(platforms, skipped),
        blobs: tally(() => 1),
        bytes: tally((one) => one.size),
        registryRequests: { ...requests },
        skipped,
        durationMs: Math.round(nowMs() - startedMs),
        ...(recordError === undefined ? {} : { recordError }),
      };
    },
  };
}

/** The entries that are content for a platform, as receipts and validations show them. */
export const platformsOf = (entries: Coverage['entries']): ReceiptPlatform[] =>
  entries
    .filter(({ entry }) => isImageEntry(entry))
    .map(({ entry, complete }) => ({ platform: platformName(entry), digest: entry.digest, complete }));

/** Counts the content of a complete root for the request, from the catalogue alone. */
export function draftPresent(draft: ReceiptDraft, root: Root, coverage: Coverage): void {
  const blobs = new Map<string, Descriptor>();
  for (const { entry } of coverage.entries) {
    for (const { id, size } of root.contents.get(entry.digest) ?? []) {
      blobs.set(id, { digest: id as Digest, size, mediaType: '' });
    }
  }
  for (const { layer } of coverage.layers) blobs.set(layer.digest, layer);
  // A manifest of an unknown type has no blobs, and counts itself.
  const bare = bareEntries(root);
  for (const { entry } of coverage.entries) {
    if (!bare.has(entry.digest)) continue;
    const id = contentIdOf(entry.digest);
    blobs.set(id, { digest: id as Digest, size: entry.size, mediaType: '' });
  }
  draft.resolved(root);
  draft.planned({ blobs: [...blobs.values()], selected: [], skipped: coverage.skipped });
  draft.covered(coverage);
  for (const blob of blobs.values()) draft.blob(blob, 'present');
}
