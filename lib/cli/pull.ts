import { pull } from '../pull/pull.ts';
import type { PullDeps, PullRequest } from '../pull/pull-request.ts';
import type { Receipt } from '../pull/receipt.ts';
import { counted, EXIT, formatBytes, formatDuration, printable, type ExitCode, type Output } from './output.ts';
import { formatReference } from '../reference/reference.ts';
import { pullProgress } from './progress.ts';

/** A request, and the reference as the user wrote it. */
export interface NamedRequest {
  readonly asked: string;
  readonly request: PullRequest;
}

/**
 * Pulls one image after the other and reports each. A failure does not stop the rest; after Ctrl-C no further pull begins.
 *
 * One at a time: a pull is parallel itself, and its memory is bounded.
 *
 * @param explained returns a clearer error if the fault is in the cache itself, else the same error.
 */
export async function pullImages(
  deps: PullDeps,
  requests: readonly NamedRequest[],
  output: Output,
  signal: AbortSignal,
  explained: (error: unknown) => unknown = (error) => error,
): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.done;
  for (const { asked, request } of requests) {
    if (signal.aborted) return EXIT.failed; // Pulls that had not begun are not reported.
    const progress = pullProgress(formatReference(request.reference), (line) => output.note(line));
    output.status(progress.status);
    try {
      const receipt = await pull({ ...deps, progress }, request, signal);
      output.status(undefined);
      output.result(receipt, receiptLines(receipt));
      if (receipt.outcome === 'partial') exitCode = EXIT.failed;
    } catch (error) {
      output.status(undefined);
      const clearer = explained(error);
      output.failure(clearer, [asked]);
      if (clearer !== error) return EXIT.usage; // A fault of the cache: the other images would fail, too.
      exitCode = EXIT.failed;
    }
  }
  return exitCode;
}

const OUTCOMES: Readonly<Record<Receipt['outcome'], string>> = {
  hit: 'was in the cache',
  pulled: 'pulled',
  partial: 'stopped before it was complete; finished content is kept, run the same command again to continue',
};

/** The receipt for a human. */
export function receiptLines(receipt: Receipt): string[] {
  const { blobs, bytes, registryRequests } = receipt;
  const elsewhere =
    blobs.copiedElsewhere === 0
      ? []
      : [`${blobs.copiedElsewhere} by another pull (${formatBytes(bytes.copiedElsewhere)})`];
  const tally = [
    `${counted(blobs.total, 'blob')} (${formatBytes(bytes.total)})`,
    `${blobs.present} present`,
    `${blobs.copied} copied (${formatBytes(bytes.copied)})`,
    ...elsewhere,
  ].join(', ');
  return [
    `${receipt.reference}: ${OUTCOMES[receipt.outcome]}`,
    ...(receipt.digest === null ? [] : [`  digest     ${receipt.digest}`]),
    ...receipt.platforms.map(
      ({ platform, digest, complete }) =>
        `  platform   ${printable(platform).padEnd(14)} ${digest} ${complete ? 'complete' : 'incomplete'}`,
    ),
    ...receipt.skipped.map(
      ({ digest, mediaType, size, reason }) =>
        `  skipped    ${digest} ${printable(mediaType)}, ${formatBytes(size)}: ${printable(reason)}`,
    ),
    ...(receipt.recordError === undefined
      ? []
      : [`  record     not in the bucket yet, pull again to write it: ${printable(receipt.recordError)}`]),
    `  blobs      ${tally}`,
    `  registry   ${counted(registryRequests.total, 'request')}, ${formatDuration(receipt.durationMs)}`,
  ];
}
