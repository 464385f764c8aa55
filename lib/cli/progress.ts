import { MultiBar, type SingleBar } from 'cli-progress';
import type { Writable } from 'node:stream';
import type { Descriptor } from '../oci/descriptor.ts';
import { hexOf, type Digest } from '../oci/digest.ts';
import type { PullProgress } from '../pull/pull-request.ts';
import { counted, formatBytes } from './output.ts';

/** What one pull tells; `stop` takes its bars away. */
export interface ProgressView extends PullProgress {
  stop(): void;
}

/** The first digits name a blob well enough for an eye. */
export const shortDigest = (digest: Digest): string => hexOf(digest).slice(0, 12);

/** A bar on the terminal for each blob that is being copied, and a line for each that is done; nothing where there is none. */
export function progressView(terminal: Writable | undefined): ProgressView {
  if (terminal === undefined) return { stop: () => undefined };
  let screen: MultiBar | undefined;
  const bars = new Map<Digest, SingleBar>();
  const copiedBytes = new Map<Digest, number>();
  /** Only blobs under way have a bar: an image may have more blobs than the terminal has lines. */
  const barOf = (blob: Descriptor): SingleBar => {
    const known = bars.get(blob.digest);
    if (known !== undefined) return known;
    screen ??= newScreen(terminal);
    const payload = { name: shortDigest(blob.digest), size: formatBytes(blob.size), done: formatBytes(0) };
    const bar = screen.create(blob.size, 0, payload);
    bars.set(blob.digest, bar);
    return bar;
  };
  const line = (text: string): void => {
    if (screen === undefined) terminal.write(text);
    else screen.log(text); // Shown above the bars with the next update.
  };
  return {
    planned: (blobs, missing) => {
      const bytes = missing.reduce((sum, blob) => sum + blob.size, 0);
      if (missing.length > 0)
        line(`  ${missing.length} of ${counted(blobs.length, 'blob')} to copy, ${formatBytes(bytes)}\n`);
    },
    copied: (blob, bytes) => {
      const copied = (copiedBytes.get(blob.digest) ?? 0) + bytes;
      copiedBytes.set(blob.digest, copied);
      barOf(blob).update(Math.min(copied, blob.size), { done: formatBytes(copied) });
    },
    finished: (blob, by) => {
      const how = by === 'us' ? 'copied' : 'copied by another pull';
      line(`  ${shortDigest(blob.digest)} ${how}, ${formatBytes(blob.size)}\n`);
      const bar = bars.get(blob.digest);
      if (bar !== undefined) screen?.remove(bar);
      bars.delete(blob.digest);
    },
    stop: () => {
      screen?.update();
      screen?.stop();
    },
  };
}

function newScreen(terminal: Writable): MultiBar {
  return new MultiBar({
    stream: terminal,
    format: '  {name} [{bar}] {percentage}%  {done} of {size}',
    clearOnComplete: true,
    hideCursor: true,
    gracefulExit: false, // Signals end the pull cleanly, and that is main.ts's to do.
    barsize: 30,
    fps: 8,
  });
}
