import { rebuild, type RebuildDeps, type RebuiltReference } from '../repair/rebuild.ts';
import { validate, type ValidateDeps, type ValidateRequest, type Validation } from '../repair/validate.ts';
import { counted, EXIT, type ExitCode, formatBytes, type Output, printable } from './output.ts';

/** Rebuilds the table from the bucket, and reports the outcome of each record. Fails if something is lost or skipped. */
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

/** Reports what the cache holds of one reference. Fails unless it is complete. */
export async function validateImage(
  deps: ValidateDeps,
  request: ValidateRequest,
  output: Output,
  signal: AbortSignal,
): Promise<ExitCode> {
  const validation = await validate(deps, request, signal);
  output.result(validation, validationLines(validation));
  return validation.state === 'complete' ? EXIT.done : EXIT.failed;
}

function validationLines(validation: Validation): string[] {
  return [
    `${validation.reference}: ${validation.state}`,
    ...(validation.digest === null ? [] : [`  digest     ${validation.digest}`]),
    ...validation.platforms.map(
      ({ platform, digest, complete }) =>
        `  platform   ${printable(platform).padEnd(14)} ${digest} ${complete ? 'complete' : 'incomplete'}`,
    ),
    ...validation.missing.map(
      ({ digest, size, reason }) =>
        `  missing    ${digest}${size === null ? '' : `, ${formatBytes(size)}`}: ${printable(reason)}`,
    ),
  ];
}
