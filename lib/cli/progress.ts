import type { Descriptor } from '../oci/descriptor.ts';
import { hexOf, type Digest } from '../oci/digest.ts';
import type { PullProgress } from '../pull/pull-request.ts';
import { counted, formatBytes } from './output.ts';
import { cut, secondsOf, type Status } from './status.ts';

/** The progress of one pull. */
export interface ProgressView extends PullProgress {
  /** A line for the whole image, and one for each blob that is being copied. */
  readonly status: Status;
}

/** The first digits, enough for people to tell blobs apart. */
export const shortDigest = (digest: Digest): string => hexOf(digest).slice(0, 12);

/** The rate is measured over this time. */
const RATE_MS = 5_000;
const MIN_RATE_MS = 250;
const BAR_CHARACTERS = 30;
const MIN_BAR_CHARACTERS = 5;
const MIN_NAME_CHARACTERS = 12;

interface Copying {
  readonly blob: Descriptor;
  bytes: number;
}

/** The progress of the pull of `name`. `note` gets a line with what is to be copied, and one for each finished blob. */
export function pullProgress(
  name: string,
  note: (line: string) => void,
  now: () => number = () => performance.now(),
): ProgressView {
  const startMs = now();
  const missing = new Map<Digest, Descriptor>();
  const finished = new Set<Digest>();
  const copying = new Map<Digest, Copying>();
  const samples: { readonly atMs: number; readonly bytes: number }[] = [];

  const doneBytes = (): number => {
    const sizes = [...finished].map((digest) => missing.get(digest)?.size ?? 0);
    // A blob that is read again from its beginning counts more bytes than its size.
    const read = [...copying.values()].map(({ blob, bytes }) => Math.min(bytes, blob.size));
    return [...sizes, ...read].reduce((sum, bytes) => sum + bytes, 0);
  };
  /** Bytes per second; undefined while it is too early to know. */
  const rateOf = (bytes: number): number | undefined => {
    const atMs = now();
    samples.push({ atMs, bytes });
    while ((samples[0]?.atMs ?? atMs) < atMs - RATE_MS) samples.shift();
    const [first] = samples;
    const tookMs = first === undefined ? 0 : atMs - first.atMs;
    return first === undefined || tookMs < MIN_RATE_MS ? undefined : ((bytes - first.bytes) * 1000) / tookMs;
  };
  const headLine = (columns: number): string => {
    if (missing.size === 0) return headOf(name, [`resolving, ${secondsOf(now() - startMs)}`], columns);
    const total = [...missing.values()].reduce((sum, { size }) => sum + size, 0);
    const done = doneBytes();
    const rate = rateOf(done);
    if (finished.size === missing.size) return headOf(name, ['100%', `${formatBytes(total)}, publishing`], columns);
    const left =
      rate === undefined || rate <= 0 ? 'time left unknown' : `${secondsOf(((total - done) / rate) * 1000)} left`;
    const figures = [
      percentOf(done, total),
      left,
      `${formatBytes(done)} of ${formatBytes(total)}`,
      ...(rate === undefined ? [] : [`${formatBytes(Math.max(0, Math.round(rate)))}/s`]),
      `${finished.size} of ${counted(missing.size, 'blob')}`,
    ];
    return headOf(name, figures, columns);
  };

  return {
    status: (columns, rows) => [
      headLine(columns),
      ...[...copying.values()].slice(0, Math.max(0, rows - 1)).map((one) => blobLine(one, columns)),
    ],
    planned: (blobs, toCopy) => {
      for (const blob of toCopy) missing.set(blob.digest, blob);
      const bytes = toCopy.reduce((sum, blob) => sum + blob.size, 0);
      if (toCopy.length === 0) return;
      rateOf(doneBytes());
      note(`${name}: ${toCopy.length} of ${counted(blobs.length, 'blob')} to copy, ${formatBytes(bytes)}`);
    },
    copied: (blob, bytes) => {
      const one = copying.get(blob.digest) ?? { blob, bytes: 0 };
      one.bytes += bytes;
      copying.set(blob.digest, one);
    },
    finished: (blob, by) => {
      copying.delete(blob.digest);
      finished.add(blob.digest);
      const how = by === 'us' ? 'copied' : 'copied by another pull';
      note(`  ${shortDigest(blob.digest)} ${how}, ${formatBytes(blob.size)}`);
    },
  };
}

const percentOf = (done: number, total: number): string =>
  `${total === 0 ? 100 : Math.min(100, Math.floor((done / total) * 100))}%`;

/** The name and as many of the figures as fit, from the first one on. A long name loses its beginning. */
function headOf(name: string, figures: readonly string[], columns: number): string {
  for (let count = figures.length; count > 0; count -= 1) {
    const text = figures.slice(0, count).join(', ');
    const room = columns - text.length - 2;
    if (room >= name.length) return `${name}  ${text}`;
    if (room >= MIN_NAME_CHARACTERS || count === 1) {
      return cut(room < 2 ? text : `…${name.slice(1 - room)}  ${text}`, columns);
    }
  }
  return cut(name, columns);
}

function blobLine({ blob, bytes }: Copying, columns: number): string {
  const done = Math.min(bytes, blob.size);
  const [begin, end] = [
    `  ${shortDigest(blob.digest)} `,
    `${percentOf(done, blob.size).padStart(4)} of ${formatBytes(blob.size)}`,
  ];
  const room = Math.min(BAR_CHARACTERS, columns - begin.length - end.length - 3);
  if (room < MIN_BAR_CHARACTERS) return cut(`${begin}${end}`, columns);
  const filled = blob.size === 0 ? room : Math.floor((done / blob.size) * room);
  return `${begin}[${'='.repeat(filled).padEnd(room)}] ${end}`;
}
