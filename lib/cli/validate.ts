import { validate, type ValidateDeps, type ValidateRequest, type Validation } from '../repair/validate.ts';
import { EXIT, formatBytes, printable, type ExitCode, type Output } from './output.ts';

/** Says what the cache holds of one reference. Done only if all of it is there. */
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
