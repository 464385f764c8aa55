import { rebuild, type RebuildDeps, type RebuiltReference } from '../repair/rebuild.ts';
import { counted, EXIT, printable, type ExitCode, type Output } from './output.ts';

/** Makes the table again from the bucket, and says what became of each record. Done only if nothing was lost. */
export async function rebuildTable(deps: RebuildDeps, output: Output, signal: AbortSignal): Promise<ExitCode> {
  const tally = { rebuilt: 0, partly: 0, kept: 0, gone: 0, removed: 0, skipped: 0 };
  for await (const one of rebuild(deps, signal)) {
    tally[one.outcome] += 1;
    output.result(one, [rebuiltLine(one)]);
  }
  output.note(
    `${counted(tally.rebuilt, 'reference')} rebuilt, ${tally.partly} in part, ${tally.kept} known already, ${tally.skipped} skipped`,
  );
  return tally.partly + tally.skipped === 0 ? EXIT.done : EXIT.failed;
}

function rebuiltLine(one: RebuiltReference): string {
  if (one.outcome === 'skipped') return `${printable(one.key)}: skipped: ${printable(one.problem)}`;
  const lost = one.lost === 0 ? '' : ` (${counted(one.lost, 'manifest')} not whole in the bucket; pull it again)`;
  return `${printable(one.reference)}: ${one.outcome}${lost}`;
}
