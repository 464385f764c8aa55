import { DeadlineError } from '../errors/cache-error.ts';
import type { Amount } from './amount.ts';
import type { PullRecords } from './pull-record.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { PullProgress } from '../pull/pull-request.ts';
import type { Moved } from '../pull/receipt.ts';
import type { CopyInput } from './tasks.ts';

const REPORT_EVERY_MS = 5_000;
/** After the deadline, beside the grace of a commit: within what the invocation keeps back. */
const LAST_REPORT_WITHIN_MS = 2_000;

/** What one invocation does of its batch: counted, and told to the record of the pull every few seconds. */
export interface BatchProgress {
  /** For the copier. */
  readonly progress: Required<Pick<PullProgress, 'copied'>>;
  blob(blob: Descriptor, outcome: keyof Moved): void;
  /** The registry does not hold this blob, which may be left out. */
  absent(layer: Descriptor): void;
  isAbsent(blob: Descriptor): boolean;
  /** Blobs that are there now. */
  isDone(blob: Descriptor): boolean;
  /** Blobs and bytes of the batch over all its invocations that answered, this one included. */
  moved(): { readonly blobs: Moved; readonly bytes: Moved };
  /** What this invocation fetched. */
  copiedBytes(): number;
  /** Tells the record the last word, within a few seconds; nothing is under way when it returns. What cannot be told is only shown too late: it throws nothing. */
  end(): Promise<void>;
}

export function startBatchProgress(
  records: Pick<PullRecords, 'progressed'>,
  task: Pick<CopyInput, 'id' | 'batch' | 'blobs' | 'bytes'>,
): BatchProgress {
  const done = new Map<Digest, { size: number; outcome: keyof Moved }>();
  const absent = new Set<Digest>();
  /** Bytes of blobs that are under way. */
  const underWay = new Map<Digest, number>();

  const now = (weigh: (size: number) => number): Moved => {
    const of = (kind: keyof Moved): number =>
      [...done.values()].reduce((sum, { size, outcome }) => sum + (outcome === kind ? weigh(size) : 0), 0);
    return { present: of('present'), copied: of('copied'), copiedElsewhere: of('copiedElsewhere') };
  };
  const moved = () => ({
    blobs: merged(
      task.blobs,
      now(() => 1),
    ),
    bytes: merged(
      task.bytes,
      now((size) => size),
    ),
  });
  const report = (inFlightBytes: number, signal: AbortSignal): Promise<void> => {
    const { blobs, bytes } = moved();
    const amount: Amount = { blobs: total(blobs), bytes: total(bytes) + inFlightBytes };
    return records.progressed(task.id, task.batch, amount, signal);
  };

  const ended = new AbortController();
  let reporting: Promise<void> | undefined;
  const timer = setInterval(() => {
    const bytes = [...underWay.values()].reduce((sum, one) => sum + one, 0);
    // A report that fails is made good by the next one, and that of the last one by whoever ends the pull: progress decides nothing.
    reporting ??= report(bytes, AbortSignal.any([ended.signal, AbortSignal.timeout(REPORT_EVERY_MS)]))
      .catch(() => undefined)
      .finally(() => (reporting = undefined));
  }, REPORT_EVERY_MS);
  return {
    progress: {
      copied({ digest }, bytes) {
        if (!done.has(digest)) underWay.set(digest, (underWay.get(digest) ?? 0) + bytes);
      },
    },
    blob({ digest, size }, outcome) {
      underWay.delete(digest);
      done.set(digest, { size, outcome });
    },
    absent: ({ digest }) => void absent.add(digest),
    isAbsent: ({ digest }) => absent.has(digest),
    isDone: ({ digest }) => done.has(digest),
    moved,
    copiedBytes: () => now((size) => size).copied,
    async end() {
      clearInterval(timer);
      ended.abort(new DeadlineError('the last report comes'));
      await reporting;
      await report(0, AbortSignal.timeout(LAST_REPORT_WITHIN_MS)).catch(() => undefined);
    },
  };
}

export const total = ({ present, copied, copiedElsewhere }: Moved): number => present + copied + copiedElsewhere;

/** What an earlier invocation brought is found present by a later one, but stays what it was. */
function merged(before: Moved, now: Moved): Moved {
  const copied = before.copied + now.copied;
  const copiedElsewhere = before.copiedElsewhere + now.copiedElsewhere;
  const all = Math.max(total(before), total(now));
  return { copied, copiedElsewhere, present: Math.max(0, all - copied - copiedElsewhere) };
}
